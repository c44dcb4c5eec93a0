//! Text and attributes that cannot be read as markup.

use std::fmt::Write;

/// Text that cannot be read as markup, nor change the direction of what stands beside it: control
/// and bidirectional formatting characters are shown as `\u{202e}`.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            _ if is_invisible(character) => {
                put(&mut out, format_args!("\\u{{{:x}}}", u32::from(character)))
            }
            _ => out.push(character),
        }
    }
    out
}

/// A picture's own text with the characters that [`escaped`] would show replaced: their place is
/// measured already.
pub fn without_invisible(svg: &str) -> String {
    let shown = |character| match character {
        '\n' | '\t' => character,
        _ if is_invisible(character) => char::REPLACEMENT_CHARACTER,
        _ => character,
    };
    svg.chars().map(shown).collect()
}

/// Controls, and those of Unicode's formatting characters that reorder text or have no width.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Writes markup. What goes into it is [`escaped`] first.
pub fn put(html: &mut String, markup: std::fmt::Arguments<'_>) {
    // Writing into a string does not fail.
    let _ = html.write_fmt(markup);
}

/// Words of a command as a POSIX shell takes them.
pub fn shell_quoted(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let quoted: Vec<String> = words
        .iter()
        .map(|word| match !word.is_empty() && word.chars().all(plain) {
            true => word.clone(),
            false => format!("'{}'", word.replace('\'', "'\\''")),
        })
        .collect();
    quoted.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_markup_and_nothing_turns_the_line_around() {
        assert_eq!(
            escaped("<a href=\"x\" title='&'>\u{202e}\0\n"),
            "&lt;a href=&quot;x&quot; title=&#39;&amp;&#39;&gt;\\u{202e}\\u{0}\n"
        );
        assert_eq!(without_invisible("a\u{200f}µ\n"), "a\u{fffd}µ\n");
    }

    #[test]
    fn a_shell_reads_the_words_again() {
        let words = [
            "wirewatt",
            "run",
            "ring",
            "--fault",
            "kill 1 @ 2s",
            "it's",
            "",
        ];
        assert_eq!(
            shell_quoted(&words.map(str::to_owned)),
            r"wirewatt run ring --fault 'kill 1 @ 2s' 'it'\''s' ''"
        );
    }
}
