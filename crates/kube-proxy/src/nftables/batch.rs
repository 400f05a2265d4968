//! The lines of a transaction, as knftables writes them for `nft -f -`.

/// Family and name of the table that everything stands in.
pub(super) const TABLE: &str = "ip kube-proxy";

/// Lines for `nft -f -`.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) text: String,
    /// How many rules it adds.
    pub(super) rules: usize,
    /// How many elements it adds or deletes.
    pub(super) elements: usize,
}

impl Batch {
    /// `add chain ip kube-proxy services`
    pub(super) fn line(&mut self, command: &str, parts: &[&str]) {
        self.text.push_str(command);
        self.text.push(' ');
        self.text.push_str(TABLE);
        for part in parts {
            self.text.push(' ');
            self.text.push_str(part);
        }
        self.text.push('\n');
    }

    /// A chain that is there and empty.
    pub(super) fn empty_chain(&mut self, chain: &str, properties: &[&str]) {
        self.line("add chain", &[&[chain], properties].concat());
        self.line("flush chain", &[chain]);
    }

    /// `add rule ip kube-proxy services …`
    pub(super) fn rule(&mut self, parts: &[&str]) {
        self.rules += 1;
        self.line("add rule", parts);
    }

    /// What `other` says, too.
    pub(super) fn append(&mut self, other: &Batch) {
        self.text.push_str(&other.text);
        self.rules += other.rules;
        self.elements += other.elements;
    }
}
