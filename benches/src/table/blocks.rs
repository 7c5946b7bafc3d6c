//! The places in a document where tables stand.

use anyhow::{Context, ensure};

use super::Table;
use crate::report::Report;

/// On lines of their own: what is told of them in the midst of one is prose.
const BEGIN: &str = "\n<!-- figures: ";
const BEGINS: &str = " -->\n";
const END: &str = "\n<!-- end of figures -->\n";

/// The document with its tables as these reports give them. A table of which they have nothing stays as it is.
///
/// # Errors
/// Where the document has no such place, or a place without a known name or without an end.
pub fn into(document: &str, reports: &[Report]) -> anyhow::Result<String> {
    let (mut text, mut rest, mut places) = (String::new(), document, 0);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(BEGINS).context("a comment that begins figures has no end")?;
        let (old, after) =
            after.split_once(END).with_context(|| format!("after `{name}` there is no `{}`", END.trim()))?;
        ensure!(!old.contains(BEGIN), "the figures `{name}` do not end before others begin");
        let table = Table::ALL.into_iter().find(|table| table.name() == name);
        let table = table.with_context(|| {
            let names = Table::ALL.map(Table::name).join(", ");
            format!("no figures are called `{name}`; there are {names}")
        })?;
        let new = table.of(reports).map(|new| format!("\n{new}"));
        text += &[before, BEGIN, name, BEGINS, new.as_deref().unwrap_or(old), END].concat();
        (rest, places) = (after, places + 1);
    }
    ensure!(places > 0, "there is no `{}NAME -->` in it", BEGIN.trim_start());
    Ok(text + rest)
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    const DOCUMENT: &str = "# One\n\n<!-- figures: goals -->\nold\n<!-- end of figures -->\n\n\
                            Between.\n\n<!-- figures: frames -->\nolder\n<!-- end of figures -->\nLast.\n";

    #[test]
    fn what_lies_between_is_replaced_and_nothing_else() {
        let scale = [report("scale", &[("worst_ratio", 1.5)])];
        let goals = Table::Goals.of(&scale).unwrap();
        let new = into(DOCUMENT, &scale).unwrap();
        assert_eq!(new, DOCUMENT.replace("old\n", &format!("\n{goals}\n")), "and of frames nothing is known");
        assert_eq!(into(&new, &scale).unwrap(), new, "a second time changes nothing");
        assert_eq!(into(DOCUMENT, &[]).unwrap(), DOCUMENT);
    }

    #[test]
    fn a_document_that_is_not_made_for_it_is_left_alone() {
        for (document, why) in [
            ("# One\n", "there is no"),
            ("Write `<!-- figures: goals -->`.\n", "there is no"),
            ("\n<!-- figures: goals -->\nold\n", "no `<!-- end"),
            ("\n<!-- figures: gaols -->\nold\n<!-- end of figures -->\n", "called `gaols`"),
            ("\n<!-- figures: goals", "has no end"),
            ("\n<!-- figures: goals -->\n\n<!-- figures: raw -->\n\n<!-- end of figures -->\n", "do not end"),
        ] {
            let error = into(document, &[]).unwrap_err().to_string();
            assert!(error.contains(why), "{document}: {error}");
        }
    }
}
