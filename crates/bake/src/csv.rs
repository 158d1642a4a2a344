//! Comma-separated values, as Go's `encoding/csv` reads them.

/// The fields of one line.
pub(crate) fn fields(text: &str, comma: char) -> Result<Vec<String>, String> {
    let mut rows = Reader { text, comma, at: 0 };
    Ok(rows.row()?.unwrap_or_default())
}

/// All lines; those with nothing in them are left out.
pub(crate) fn rows(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut reader = Reader { text, comma: ',', at: 0 };
    let mut rows = Vec::new();
    while let Some(row) = reader.row()? {
        rows.push(row);
    }
    Ok(rows)
}

struct Reader<'t> {
    text: &'t str,
    comma: char,
    at: usize,
}

impl Reader<'_> {
    fn row(&mut self) -> Result<Option<Vec<String>>, String> {
        while self.text[self.at..].starts_with(['\n', '\r']) {
            self.at += 1;
        }
        if self.at >= self.text.len() {
            return Ok(None);
        }
        let mut row = Vec::new();
        loop {
            let quoted = self.text[self.at..].starts_with('"');
            row.push(if quoted { self.quoted()? } else { self.plain()? });
            let rest = &self.text[self.at..];
            if let Some(more) = rest.strip_prefix(self.comma) {
                self.at = self.text.len() - more.len();
                continue;
            }
            let line_end = if rest.starts_with("\r\n") { 2 } else { usize::from(!rest.is_empty()) };
            self.at += line_end;
            return Ok(Some(row));
        }
    }

    fn plain(&mut self) -> Result<String, String> {
        let rest = &self.text[self.at..];
        let end = rest.find([self.comma, '\n']).unwrap_or(rest.len());
        let mut field = &rest[..end];
        if rest[end..].starts_with('\n') {
            field = field.strip_suffix('\r').unwrap_or(field);
        }
        if field.contains('"') {
            return Err(format!("a bare `\"` in the field `{field}`"));
        }
        self.at += field.len();
        Ok(field.to_owned())
    }

    fn quoted(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut field = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find('"').ok_or("a quoted field without an end")?;
            field.push_str(&rest[..end]);
            self.at += end + 1;
            let after = &self.text[self.at..];
            if after.starts_with('"') {
                field.push('"');
                self.at += 1;
            } else if after.is_empty()
                || after.starts_with([self.comma, '\n'])
                || after.starts_with("\r\n")
            {
                return Ok(field);
            } else {
                return Err("a quoted field goes on after its closing quote".to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{fields, rows};

    #[test]
    fn fields_may_be_quoted() {
        let table: &[(&str, &[&str])] = &[
            ("a,b,c", &["a", "b", "c"]),
            ("a,,", &["a", "", ""]),
            ("\"a,b\",\"c\"\"d\"", &["a,b", "c\"d"]),
            ("", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(fields(text, ',').unwrap(), *expected, "{text}");
        }
        for text in ["a\"b", "\"a", "\"a\"b"] {
            assert!(fields(text, ',').is_err(), "{text}");
        }
    }

    #[test]
    fn lines_end_as_on_either_system() {
        assert_eq!(rows("a,b\r\n1,2\n\n3,4").unwrap(), [["a", "b"], ["1", "2"], ["3", "4"]]);
    }
}
