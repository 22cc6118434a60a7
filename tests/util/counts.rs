//! The line that says what became of a server's clients.

/// The line's equation holds and has these terms; all others are 0.
pub fn assert_counts(line: &str, counts: &[(&str, u64)]) {
    assert_eq!(terms(line), counts, "{line}");
}

/// The terms of the line's equation that are not 0. It holds.
pub fn terms(line: &str) -> Vec<(&str, u64)> {
    let terms = counts(line).into_iter().skip(1);
    terms.filter(|(_, n)| *n != 0).collect()
}

/// What the line says about the clients: `accepted`, and then the terms whose sum it is.
pub fn counts(line: &str) -> Vec<(&str, u64)> {
    let (_, equation) = line.split_once("] accepted ").unwrap();
    let (equation, _) = equation.split_once(';').unwrap();
    let (accepted, terms) = equation.split_once(" = ").unwrap();
    let terms = terms
        .split(" + ")
        .map(|term| term.rsplit_once(' ').unwrap());
    let accepted = ("accepted", accepted.parse().unwrap());
    let mut counts = vec![accepted];
    counts.extend(terms.map(|(name, n)| (name, n.parse::<u64>().unwrap())));
    let sum: u64 = counts[1..].iter().map(|(_, n)| n).sum();
    assert_eq!(accepted.1, sum, "{line}");
    counts
}
