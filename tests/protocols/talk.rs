//! Talks to a protocol without a socket: as adversely as a network may, and always in the same way.

use hello_echo::{End, Protocol, Want};

/// One client sends these pieces and its FIN. Returns what it receives, and how the protocol ends:
/// `None` if it still wants to receive. Each send takes one byte, and then the scratch buffer is
/// somebody else's.
pub fn talk<P: Protocol>(shared: &mut P::Shared, pieces: &[&[u8]]) -> (Vec<u8>, Option<End>) {
    let mut protocol = P::open(shared);
    let (mut sent, mut scratch, mut is_finished) = (vec![], vec![], false);
    let mut pieces = pieces.iter().filter(|piece| !piece.is_empty());
    loop {
        match protocol.want(shared, &scratch) {
            Want::Send(bytes) | Want::SendLast(bytes) | Want::Stream(bytes) => {
                sent.push(bytes[0]);
                protocol.handle_sent(1, shared);
                protocol.keep(&scratch);
                scratch.clear();
            }
            Want::Receive if is_finished => return (sent, None),
            Want::Receive => match pieces.next() {
                Some(piece) => {
                    scratch = piece.to_vec();
                    protocol.handle_received(piece, shared);
                }
                None => {
                    protocol.handle_fin(shared);
                    is_finished = true;
                }
            },
            Want::Close(end) => return (sent, Some(end)),
        }
    }
}
