//! How the demo is told: plain lines, with colour only on a terminal.

use std::io::IsTerminal;

/// Prints the story.
pub struct Story {
    colour: bool,
    step: u32,
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "31";
const CYAN: &str = "36";

impl Story {
    pub fn new() -> Story {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Story { colour, step: 0 }
    }

    pub fn title(&self, title: &str, source: &str) {
        println!("{}\n{}", self.paint(BOLD, title), self.paint(DIM, source));
    }

    pub fn chapter(&self, name: &str) {
        println!("\n{}", self.paint(BOLD, name));
    }

    pub fn note(&self, text: &str) {
        println!("{}", self.paint(DIM, text));
    }

    /// A name and what is to be known of it.
    pub fn fact(&self, name: &str, text: &str) {
        println!("  {} {text}", self.paint(CYAN, &format!("{name:14}")));
    }

    /// The next of the numbered steps.
    pub fn step(&mut self, who: &str, what: &str) {
        self.step += 1;
        println!("  {:>2}  {} {what}", self.step, self.paint(CYAN, &format!("{who:14}")));
    }

    /// Something that must fail.
    pub fn attempt(&self, letter: char, who: &str, what: &str) {
        println!("   {letter}  {} {what}", self.paint(CYAN, &format!("{who:14}")));
    }

    /// What a step led to.
    pub fn then(&self, who: &str, what: &str) {
        println!("      {} {what}", self.paint(CYAN, &format!("{who:14}")));
    }

    /// What the broker logged.
    pub fn log(&self, line: &str) {
        println!("      {}", self.paint(DIM, line));
    }

    pub fn success(&self, summary: &str) {
        println!("\n{} {summary}", self.paint(GREEN, "All held:"));
    }

    pub fn failure(&self, summary: &str, error: &anyhow::Error) {
        println!("\n{} {error:#}\n{summary}", self.paint(RED, "It did not hold:"));
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
