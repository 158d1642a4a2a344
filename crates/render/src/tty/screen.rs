//! A terminal for the tests: it knows what the view may use and refuses all else.

use unicode_width::UnicodeWidthChar;

/// What a terminal of some width shows.
#[derive(Debug)]
pub(crate) struct Screen {
    columns: usize,
    lines: Vec<String>,
    row: usize,
}

impl Screen {
    pub(crate) fn new(columns: usize) -> Self {
        Self { columns, lines: vec![String::new()], row: 0 }
    }

    /// Takes bytes as a terminal does; lines are only ever written from their start.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).unwrap();
        let mut fresh = true;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\r' => fresh = true,
                '\n' => {
                    self.row += 1;
                    if self.row == self.lines.len() {
                        self.lines.push(String::new());
                    }
                    fresh = true;
                }
                '\u{1b}' => {
                    assert_eq!(chars.next(), Some('['));
                    let mut parameters = String::new();
                    let end = loop {
                        let c = chars.next().unwrap();
                        if c.is_ascii_alphabetic() {
                            break c;
                        }
                        parameters.push(c);
                    };
                    self.control(end, &parameters, fresh);
                }
                c => {
                    assert!(!c.is_control(), "{c:?} reached the terminal");
                    if fresh {
                        self.lines[self.row].clear();
                        fresh = false;
                    }
                    self.lines[self.row].push(c);
                    let width: usize =
                        self.lines[self.row].chars().map(|c| c.width().unwrap_or(0)).sum();
                    assert!(width < self.columns, "too wide: {}", self.lines[self.row]);
                }
            }
        }
    }

    fn control(&mut self, end: char, parameters: &str, fresh: bool) {
        match (end, parameters) {
            ('A', n) => self.row = self.row.checked_sub(n.parse().unwrap()).unwrap(),
            ('K', "") if fresh => self.lines[self.row].clear(),
            ('J', "") => self.lines.truncate(self.row + 1),
            ('K', "") | ('m', _) | ('h' | 'l', "?2026") => {}
            other => panic!("{other:?} reached the terminal"),
        }
        if end == 'J' && fresh {
            self.lines[self.row].clear();
        }
    }

    pub(crate) fn text(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().map(|line| line.trim_end()).collect();
        lines.join("\n")
    }
}
