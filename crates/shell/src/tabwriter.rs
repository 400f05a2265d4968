//! Columns as Go's `text/tabwriter` lays them out, which is how kubectl prints tables and descriptions.
//!
//! A column is not the whole height of the text: it is a run of lines that all have a cell there which is
//! ended by a tab. The last cell of a line belongs to no column.

/// How columns are laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Narrowest column, padding included.
    pub min_width: usize,
    /// Spaces after the widest cell.
    pub padding: usize,
}

/// `kubectl get` (`cli-runtime/pkg/printers/tabwriter.go`).
pub const TABLE: Layout = Layout { min_width: 6, padding: 3 };
/// `kubectl describe` (`kubectl/pkg/describe`).
pub const DESCRIPTION: Layout = Layout { min_width: 0, padding: 2 };

/// Lays out lines of a table that goes on: columns are at least as wide as they were in the lines before
/// (`RememberWidths` of kubectl's writer). `widths` is what is remembered.
pub fn layout_on(text: &str, layout: Layout, widths: &mut Vec<usize>) -> String {
    let mut out = String::new();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    for cells in &lines {
        for (column, cell) in cells.iter().enumerate().take(cells.len().saturating_sub(1)) {
            let width = (cell.chars().count() + layout.padding).max(layout.min_width);
            match widths.get_mut(column) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    for cells in &lines {
        for (column, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < cells.len() {
                let width = widths.get(column).copied().unwrap_or(0);
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
    out
}

/// Lays out lines whose cells are separated by tabs.
pub fn layout(text: &str, layout: Layout) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> =
        lines.iter().map(|cells| vec![0; cells.len().saturating_sub(1)]).collect();
    columns(&lines, &mut widths, 0, lines.len(), 0, layout);
    let mut result = String::new();
    for (at, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if at > 0 {
            result.push('\n');
        }
        for (column, cell) in cells.iter().enumerate() {
            result.push_str(cell);
            if let Some(width) = widths.get(column) {
                let missing = width.saturating_sub(cell.chars().count());
                result.extend(std::iter::repeat_n(' ', missing));
            }
        }
    }
    result
}

/// Finds the blocks of column `column` among the lines `from..to`, sets their widths, and goes on inside each.
fn columns(
    lines: &[Vec<&str>],
    widths: &mut [Vec<usize>],
    from: usize,
    to: usize,
    column: usize,
    layout: Layout,
) {
    let has = |at: usize| lines.get(at).is_some_and(|cells| column + 1 < cells.len());
    let mut at = from;
    while at < to {
        if !has(at) {
            at += 1;
            continue;
        }
        let begin = at;
        while at < to && has(at) {
            at += 1;
        }
        let cells = lines.get(begin..at).unwrap_or_default();
        let widest = cells
            .iter()
            .filter_map(|cells| cells.get(column))
            .map(|cell| cell.chars().count())
            .max();
        let width = (widest.unwrap_or(0) + layout.padding).max(layout.min_width);
        for line in widths.get_mut(begin..at).unwrap_or_default() {
            if let Some(slot) = line.get_mut(column) {
                *slot = width;
            }
        }
        columns(lines, widths, begin, at, column + 1, layout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_table() {
        let text = "NAME\tREADY\tSTATUS\tRESTARTS\tAGE\nnginx-1\t1/1\tRunning\t0\t5s\n";
        expect![[r#"
            NAME      READY   STATUS    RESTARTS   AGE
            nginx-1   1/1     Running   0          5s
        "#]]
        .assert_eq(&layout(text, TABLE));
    }

    #[test]
    fn columns_end_where_lines_do_not_have_them() {
        let text = "Name:\tweb\nLabels:\tapp=web\n\ttier=front\nNothing\nLonger name:\tx\nA:\ty";
        expect![[r#"
            Name:    web
            Labels:  app=web
                     tier=front
            Nothing
            Longer name:  x
            A:            y"#]]
        .assert_eq(&layout(text, DESCRIPTION));
    }
}
