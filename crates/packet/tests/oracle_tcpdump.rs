//! The real tcpdump is the judge of the text, of the files, and of the filters.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what it skips")]

mod samples;

use std::path::PathBuf;
use std::process::Command;

use packet::capture::{Record, classic};
use packet::tcpdump::{Captured, Dump, LinkType, Options, Printer, Stamp, StampStyle};

/// `None`, and the reason printed, where there is no tcpdump of the version that is copied.
fn tcpdump_is_here() -> Option<()> {
    let version = Command::new("tcpdump").arg("--version").output();
    let text = version.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    match text {
        Ok(text) if text.contains("version 4.99") => Some(()),
        Ok(text) => {
            eprintln!("skipped: not tcpdump 4.99: {}", text.lines().next().unwrap_or_default());
            None
        }
        Err(error) => {
            eprintln!("skipped: no tcpdump: {error}");
            None
        }
    }
}

/// A capture file of its own for each test.
fn write(name: &str, link: LinkType, records: &[Record]) -> PathBuf {
    let mut writer = classic::Writer::new(link, false);
    for record in records {
        writer.record(record);
    }
    let dir = std::env::temp_dir().join(format!("podwire-oracle-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join(name);
    std::fs::write(&path, writer.into_bytes()).unwrap();
    path
}

fn tcpdump(path: &PathBuf, args: &[&str]) -> String {
    let out = Command::new("tcpdump").args(args).arg("-r").arg(path).env("TZ", "UTC").output();
    String::from_utf8_lossy(&out.unwrap().stdout).into_owned()
}

fn options(args: &[&str]) -> Options {
    let mut options = Options::default();
    let mut stamps = 0;
    let mut dumps = 0;
    for letter in args.iter().flat_map(|arg| arg.chars()) {
        match letter {
            'e' => options.link_header = true,
            'v' => options.verbose += 1,
            'q' => options.quiet = true,
            'S' => options.absolute = true,
            'K' => options.no_checksums = true,
            't' => stamps += 1,
            'x' | 'X' => {
                options.dump = if letter == 'x' { Dump::Hex } else { Dump::HexAscii };
                dumps += 1;
            }
            'A' => options.dump = Dump::Ascii,
            _ => {}
        }
    }
    options.dump_link = dumps > 1;
    options.stamp = StampStyle::of(stamps);
    options
}

fn ours(link: LinkType, records: &[Record], args: &[&str]) -> String {
    let mut printer = Printer::new(options(args));
    printer.name_iface(1, "lo");
    let mut text = String::new();
    for record in records {
        let packet = Captured { at: record.at, link, bytes: &record.bytes, len: record.len };
        text.push_str(&printer.print(&packet));
        text.push('\n');
    }
    text
}

/// Lines that differ; the first of them are printed.
fn compare(name: &str, link: LinkType, records: &[Record], args: &[&str]) -> usize {
    let path = write(name, link, records);
    let (wanted, got) = (tcpdump(&path, args), ours(link, records, args));
    let _ = std::fs::remove_file(&path);
    if wanted == got {
        return 0;
    }
    let mut shown = 0;
    for (wanted, got) in wanted.lines().zip(got.lines()) {
        if wanted != got && shown < 6 {
            eprintln!("tcpdump {args:?}\n- {wanted}\n+ {got}");
            shown += 1;
        }
    }
    let lines = (wanted.lines().count(), got.lines().count());
    eprintln!("{name} {args:?}: {lines:?} lines");
    shown.max(1)
}

const OPTION_SETS: [&[&str]; 22] = [
    &["-nt"],
    &["-nn", "-t"],
    &["-n"],
    &["-ntt"],
    &["-nttt"],
    &["-ntttt"],
    &["-nttttt"],
    &["-nte"],
    &["-ntv"],
    &["-ntvv"],
    &["-ntvvv"],
    &["-ntev"],
    &["-ntq"],
    &["-ntqe"],
    &["-ntqv"],
    &["-ntS"],
    &["-ntvK"],
    &["-ntx"],
    &["-ntX"],
    &["-ntxx"],
    &["-ntXX"],
    &["-ntA"],
];

fn records(frames: Vec<Vec<u8>>) -> Vec<Record> {
    let at =
        |index: u64| Stamp::new(1_767_603_600 + index / 3, (index * 123_457 % 1_000_000) as u32);
    frames.into_iter().enumerate().map(|(i, bytes)| Record::new(0, at(i as u64), bytes)).collect()
}

#[test]
fn hand_made_packets_read_as_tcpdump_reads_them() {
    let Some(()) = tcpdump_is_here() else { return };
    let mut differing = 0;
    let frames = records(samples::hand_made());
    for args in OPTION_SETS {
        differing += compare("hand.pcap", LinkType::Ethernet, &frames, args);
    }
    assert_eq!(differing, 0);
}

#[test]
fn generated_packets_read_as_tcpdump_reads_them() {
    let Some(()) = tcpdump_is_here() else { return };
    let mut differing = 0;
    for seed in 0..4 {
        let frames = records(samples::generated(seed, 500));
        for args in OPTION_SETS {
            differing +=
                compare(&format!("generated-{seed}.pcap"), LinkType::Ethernet, &frames, args);
        }
    }
    assert_eq!(differing, 0);
}

#[test]
fn packets_that_are_cut_short_read_as_tcpdump_reads_them() {
    let Some(()) = tcpdump_is_here() else { return };
    let mut differing = 0;
    let mut cut = Vec::new();
    for (index, frame) in samples::hand_made().into_iter().enumerate() {
        for keep in [14, 20, 30, 34, 38, 42, 46, 50, 54, 58, 62, 70, 80, 100] {
            if keep < frame.len() {
                let mut record =
                    Record::new(0, Stamp::new(1_767_603_600 + index as u64, 0), frame.clone());
                record.bytes.truncate(keep);
                cut.push(record);
            }
        }
    }
    for args in [&["-nt"][..], &["-ntv"], &["-ntvv"], &["-nte"], &["-ntq"], &["-ntX"]] {
        differing += compare("cut.pcap", LinkType::Ethernet, &cut, args);
    }
    assert_eq!(differing, 0);
}

#[test]
fn cooked_and_raw_captures_read_as_tcpdump_reads_them() {
    let Some(()) = tcpdump_is_here() else { return };
    let mut differing = 0;
    let mut cooked = Vec::new();
    let mut raw = Vec::new();
    for (index, frame) in samples::hand_made().into_iter().enumerate() {
        let kind = u16::from_be_bytes([frame[12], frame[13]]);
        if kind == 0x0800 {
            raw.push(frame[14..].to_vec());
        }
        // A tag is not a type that a cooked header names.
        if kind == 0x0800 || kind == 0x0806 {
            cooked.push(samples::cooked(
                &frame,
                1 + (index as u32 % 2) * 4_000_000,
                index as u8 % 5,
            ));
        }
    }
    for args in OPTION_SETS {
        differing += compare("cooked.pcap", LinkType::Sll2, &records(cooked.clone()), args);
        differing += compare("raw.pcap", LinkType::Raw, &records(raw.clone()), args);
    }
    assert_eq!(differing, 0);
}

/// Where nobody can be asked for names of addresses, only ports and protocols get names.
#[test]
fn names_of_ports_are_those_of_tcpdump() {
    let Some(()) = tcpdump_is_here() else { return };
    let frames = records([samples::hand_made(), samples::generated(1, 500)].concat());
    let path = write("names.pcap", LinkType::Ethernet, &frames);
    for args in [&["-t"][..], &["-te"], &["-tv"], &["-tq"]] {
        let mut alone = Command::new("unshare");
        alone.args(["-n", "tcpdump"]).args(args).arg("-r").arg(&path);
        let Ok(out) = alone.output() else {
            eprintln!("skipped: no unshare");
            return;
        };
        if !out.status.success() {
            eprintln!("skipped: no network namespace of its own");
            return;
        }
        let mut printer = Printer::new(Options { port_names: true, ..options(args) });
        let mut ours = String::new();
        for record in &frames {
            let link = LinkType::Ethernet;
            let packet = Captured { at: record.at, link, bytes: &record.bytes, len: record.len };
            ours.push_str(&printer.print(&packet));
            ours.push('\n');
        }
        let theirs = String::from_utf8_lossy(&out.stdout).into_owned();
        for (theirs, ours) in theirs.lines().zip(ours.lines()) {
            assert_eq!(ours, theirs, "{args:?}");
        }
        assert_eq!(ours.lines().count(), theirs.lines().count());
    }
}
