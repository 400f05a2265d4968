//! Time zones: how far their clocks are ahead of UTC, with the rules of 2026 for summer time (IANA tzdata 2025b).
//!
//! The rules of other years are left out, and so are zones whose summer time follows no rule of the calendar
//! (`Africa/Casablanca`, `Asia/Gaza`).

use crate::calendar::Utc;

/// Minutes ahead of UTC in winter, the rule of the summer time, an area, and its places; `-`: names without an area.
const TABLE: &str = "
0 E Europe Belfast Dublin Guernsey Isle_of_Man Jersey Lisbon London
0 E Atlantic Canary Faroe Madeira
0 E - GB Eire Portugal WET
60 E Europe Amsterdam Andorra Belgrade Berlin Bratislava Brussels Budapest Busingen Copenhagen Gibraltar Ljubljana Luxembourg Madrid Malta Monaco Oslo Paris Podgorica Prague Rome San_Marino Sarajevo Skopje Stockholm Tirane Vaduz Vatican Vienna Warsaw Zagreb Zurich
60 E Africa Ceuta
60 E Arctic Longyearbyen
60 E - CET MET Poland
120 E Europe Athens Bucharest Chisinau Helsinki Kiev Kyiv Mariehamn Riga Sofia Tallinn Vilnius
120 E Asia Famagusta Nicosia
120 E - EET
-60 E Atlantic Azores
-120 E America Godthab Nuuk Scoresbysund
120 I Asia Jerusalem Tel_Aviv
120 I - Israel
120 G Africa Cairo
120 G - Egypt
120 L Asia Beirut
-300 U America Detroit Grand_Turk Indiana/Indianapolis Indianapolis Iqaluit Kentucky/Louisville Louisville Montreal Nassau New_York Port-au-Prince Toronto
-300 U US Eastern East-Indiana Michigan
-300 U Canada Eastern
-300 U - EST5EDT
-360 U America Chicago Indiana/Knox Matamoros Menominee Winnipeg
-360 U US Central
-360 U Canada Central
-360 U - CST6CDT
-420 U America Boise Cambridge_Bay Ciudad_Juarez Denver Edmonton Yellowknife
-420 U US Mountain
-420 U Canada Mountain
-420 U - MST7MDT Navajo
-480 U America Los_Angeles Tijuana Vancouver
-480 U US Pacific
-480 U Canada Pacific
-480 U - PST8PDT
-540 U America Anchorage Juneau Nome Sitka
-540 U US Alaska
-600 U America Adak
-240 U America Halifax Moncton Thule
-240 U Atlantic Bermuda
-240 U Canada Atlantic
-210 U America St_Johns
-210 U Canada Newfoundland
-240 C America Santiago
-240 C Chile Continental
600 A Australia ACT Canberra Currie Hobart Melbourne NSW Sydney Tasmania Victoria
570 A Australia Adelaide Broken_Hill South
720 N Pacific Auckland
720 N Antarctica McMurdo
720 N - NZ
0 - Africa Abidjan Accra Bamako Banjul Bissau Conakry Dakar Freetown Lome Monrovia Nouakchott Ouagadougou Sao_Tome
0 - Atlantic Reykjavik St_Helena
0 - America Danmarkshavn
0 - Etc GMT Greenwich UCT UTC Universal Zulu
0 - - GMT Greenwich Iceland UCT UTC Universal Zulu
60 - Africa Algiers Bangui Brazzaville Douala Kinshasa Lagos Libreville Luanda Malabo Ndjamena Niamey Porto-Novo Tunis
120 - Africa Blantyre Bujumbura Gaborone Harare Johannesburg Juba Khartoum Kigali Lubumbashi Lusaka Maputo Maseru Mbabane Tripoli Windhoek
120 - Europe Kaliningrad
180 - Africa Addis_Ababa Asmara Dar_es_Salaam Djibouti Kampala Mogadishu Nairobi
180 - Europe Istanbul Kirov Minsk Moscow Simferopol Volgograd
180 - Asia Aden Amman Baghdad Bahrain Damascus Istanbul Kuwait Qatar Riyadh
180 - Indian Antananarivo Comoro Mayotte
180 - - Turkey W-SU
210 - Asia Tehran
240 - Asia Baku Dubai Muscat Tbilisi Yerevan
240 - Europe Astrakhan Samara Saratov Ulyanovsk
240 - Indian Mahe Mauritius Reunion
270 - Asia Kabul
300 - Asia Almaty Aqtau Ashgabat Dushanbe Karachi Qyzylorda Samarkand Tashkent Yekaterinburg
300 - Indian Maldives
330 - Asia Calcutta Colombo Kolkata
345 - Asia Kathmandu Katmandu
360 - Asia Bishkek Dhaka Omsk Thimphu Urumqi
390 - Asia Rangoon Yangon
420 - Asia Bangkok Barnaul Ho_Chi_Minh Hovd Jakarta Krasnoyarsk Novosibirsk Phnom_Penh Pontianak Saigon Tomsk Vientiane
480 - Asia Brunei Chongqing Hong_Kong Irkutsk Kuala_Lumpur Kuching Macau Makassar Manila Shanghai Singapore Taipei Ulaanbaatar
480 - Australia Perth West
480 - - Hongkong PRC ROC Singapore
540 - Asia Chita Dili Jayapura Pyongyang Seoul Tokyo Yakutsk
540 - - Japan ROK
570 - Australia Darwin North
600 - Australia Brisbane Lindeman Queensland
600 - Asia Vladivostok
600 - Pacific Guam Port_Moresby Saipan
660 - Asia Magadan Sakhalin
660 - Pacific Efate Guadalcanal Noumea
720 - Asia Kamchatka
720 - Pacific Fiji Funafuti Majuro Tarawa Wake
780 - Pacific Apia Fakaofo Tongatapu
840 - Pacific Kiritimati
-60 - Atlantic Cape_Verde
-120 - America Noronha
-120 - Atlantic South_Georgia
-180 - America Araguaina Argentina/Buenos_Aires Argentina/Cordoba Argentina/Mendoza Asuncion Bahia Belem Buenos_Aires Cayenne Fortaleza Maceio Montevideo Paramaribo Punta_Arenas Recife Sao_Paulo
-180 - Brazil East
-180 - Atlantic Stanley
-240 - America Aruba Barbados Boa_Vista Campo_Grande Caracas Cuiaba Curacao Guadeloupe Guyana La_Paz Manaus Martinique Port_of_Spain Porto_Velho Puerto_Rico Santo_Domingo
-240 - Brazil West
-300 - America Bogota Cancun Cayman Guayaquil Jamaica Lima Panama Rio_Branco
-300 - - EST Jamaica
-360 - America Belize Chihuahua Costa_Rica El_Salvador Guatemala Managua Merida Mexico_City Monterrey Regina Tegucigalpa
-360 - Canada Saskatchewan
-360 - Mexico General
-360 - Pacific Galapagos
-420 - America Hermosillo Mazatlan Phoenix Whitehorse
-420 - US Arizona
-420 - - MST
-480 - Pacific Pitcairn
-570 - Pacific Marquesas
-600 - Pacific Honolulu Tahiti
-600 - US Hawaii
-600 - - HST
-660 - Pacific Midway Niue Pago_Pago
";

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Seconds ahead of UTC in winter.
    standard: i64,
    rule: u8,
}

/// UTC.
pub const UTC: Zone = Zone { standard: 0, rule: b'-' };

/// A zone by its name.
pub fn find(name: &str) -> Option<Zone> {
    let (area, place) = match name.split_once('/') {
        Some(("-", _)) => return None,
        Some(both) => both,
        None => ("-", name),
    };
    for line in TABLE.lines() {
        let mut words = line.split(' ');
        let (Some(minutes), Some(rule), Some(of)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        if of == area && words.any(|known| known == place) {
            let minutes: i64 = minutes.parse().ok()?;
            return Some(Zone { standard: minutes * 60, rule: *rule.as_bytes().first()? });
        }
    }
    // The sign is the wrong way round there: `Etc/GMT-2` is ahead of Greenwich (tzdata, `etcetera`).
    let hours: i64 = name.strip_prefix("Etc/GMT")?.parse().ok()?;
    (-14..=12).contains(&hours).then_some(Zone { standard: -hours * 3600, rule: b'-' })
}

/// Whether there is such an area, so that the name may be one that is missing in the table.
pub fn has_area(name: &str) -> bool {
    let area = name.split_once('/').map_or("", |(area, _)| area);
    TABLE.lines().any(|line| area != "-" && line.split(' ').nth(2) == Some(area))
}

/// Unix time of a moment of a zone's winter clock: the first such weekday (0 is Monday) of a month on or after a day.
fn moment(year: u32, month: u32, from: u32, weekday: u32, second: i64) -> i64 {
    let first =
        Utc { year, month, day: from, hour: 0, minute: 0, second: 0, micros: 0, weekday: 0 };
    let midnight = first.unix_secs();
    let is = Utc::from_unix(midnight, 0).weekday;
    midnight + i64::from((weekday + 7 - is) % 7) * 86_400 + second
}

impl Zone {
    /// When summer time begins and ends in a year, in seconds of the winter clock.
    fn summer(&self, year: u32) -> Option<(i64, i64)> {
        const SUNDAY: u32 = 6;
        const HOUR: i64 = 3600;
        Some(match self.rule {
            // At the same moment everywhere: one o'clock UTC.
            b'E' => {
                let at = HOUR + self.standard;
                (moment(year, 3, 25, SUNDAY, at), moment(year, 10, 25, SUNDAY, at))
            }
            b'U' => (moment(year, 3, 8, SUNDAY, 2 * HOUR), moment(year, 11, 1, SUNDAY, HOUR)),
            b'A' => (moment(year, 10, 1, SUNDAY, 2 * HOUR), moment(year, 4, 1, SUNDAY, 2 * HOUR)),
            b'N' => (moment(year, 9, 24, SUNDAY, 2 * HOUR), moment(year, 4, 1, SUNDAY, 2 * HOUR)),
            b'C' => (moment(year, 9, 2, SUNDAY, 0), moment(year, 4, 2, SUNDAY, -HOUR)),
            b'I' => (moment(year, 3, 23, 4, 2 * HOUR), moment(year, 10, 25, SUNDAY, HOUR)),
            b'G' => (moment(year, 4, 24, 4, 0), moment(year, 10, 25, 3, 23 * HOUR)),
            b'L' => (moment(year, 3, 25, SUNDAY, 0), moment(year, 10, 25, SUNDAY, -HOUR)),
            _ => return None,
        })
    }

    /// How many seconds its clocks are ahead of UTC at a Unix time.
    pub fn ahead(&self, unix: i64) -> i64 {
        let local = unix.saturating_add(self.standard);
        let Some((begins, ends)) = self.summer(Utc::from_unix(local, 0).year) else {
            return self.standard;
        };
        let is_summer = match begins < ends {
            true => (begins..ends).contains(&local),
            // South of the equator it is summer at both ends of the year.
            false => !(ends..begins).contains(&local),
        };
        self.standard + if is_summer { 3600 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward_and_back() {
        let at = |text: &str| Utc::parse_rfc3339(text).map_or(0, |utc| utc.unix_secs());
        for (zone, moment, hours_before, hours_after) in [
            ("Europe/Berlin", "2026-03-29T01:00:00Z", 1.0, 2.0),
            ("Europe/Berlin", "2026-10-25T01:00:00Z", 2.0, 1.0),
            ("Europe/London", "2026-03-29T01:00:00Z", 0.0, 1.0),
            ("America/New_York", "2026-03-08T07:00:00Z", -5.0, -4.0),
            ("America/New_York", "2026-11-01T06:00:00Z", -4.0, -5.0),
            ("America/St_Johns", "2026-03-08T05:30:00Z", -3.5, -2.5),
            ("Australia/Sydney", "2026-04-04T16:00:00Z", 11.0, 10.0),
            ("Australia/Sydney", "2026-10-03T16:00:00Z", 10.0, 11.0),
            ("Pacific/Auckland", "2026-04-04T14:00:00Z", 13.0, 12.0),
            ("Pacific/Auckland", "2026-09-26T14:00:00Z", 12.0, 13.0),
            ("America/Santiago", "2026-04-05T03:00:00Z", -3.0, -4.0),
            ("America/Santiago", "2026-09-06T04:00:00Z", -4.0, -3.0),
            ("Asia/Jerusalem", "2026-03-27T00:00:00Z", 2.0, 3.0),
            ("Asia/Jerusalem", "2026-10-24T23:00:00Z", 3.0, 2.0),
            ("Africa/Cairo", "2026-04-23T22:00:00Z", 2.0, 3.0),
            ("Africa/Cairo", "2026-10-29T21:00:00Z", 3.0, 2.0),
            ("Asia/Beirut", "2026-03-28T22:00:00Z", 2.0, 3.0),
            ("Asia/Beirut", "2026-10-24T21:00:00Z", 3.0, 2.0),
            ("Asia/Kolkata", "2026-06-01T00:00:00Z", 5.5, 5.5),
            ("Etc/GMT-2", "2026-06-01T00:00:00Z", 2.0, 2.0),
            ("UTC", "2026-06-01T00:00:00Z", 0.0, 0.0),
        ] {
            let found =
                find(zone).map(|found| (found.ahead(at(moment) - 1), found.ahead(at(moment))));
            let seconds = |hours: f64| (hours * 3600.0) as i64;
            let wanted = (seconds(hours_before), seconds(hours_after));
            assert_eq!(found, Some(wanted), "{zone} {moment}");
        }
    }

    #[test]
    fn names_that_are_none() {
        for name in ["Nowhere/Land", "Berlin", "Europe/", "", "-", "-/UTC", "Etc/GMT+99", "60 E"] {
            assert_eq!(find(name), None, "{name}");
        }
        assert!(has_area("Europe/Nowhere") && !has_area("Nowhere/Land") && !has_area("-/UTC"));
    }
}
