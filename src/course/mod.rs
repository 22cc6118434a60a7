#![cfg_attr(not(doctest), doc = include_str!("front.md"))]
// A page to a module, which has nothing but text. The programs beside the pages are no part of this
// crate: tests/examples/course compiles and tries them.

macro_rules! pages {
    ($($name:ident $text:literal $($program:literal)?)*) => {
        $(
            #[doc = include_str!($text)]
            $(
                #[doc = "\n<details><summary>The whole program</summary>\n\n```rust"]
                #[doc = include_str!($program)]
                #[doc = "```\n\n</details>"]
            )?
            pub mod $name {}
        )*
    };
}

#[cfg(not(doctest))] // code of pages is copied from where it is tested
pages! {
    page_01_blocking "01-blocking.md" "01-blocking.rs"
    page_02_one_accept "02-one-accept.md" "02-one-accept.rs"
    page_03_hang_up "03-hang-up.md" "03-hang-up.rs"
    page_04_question_mark "04-question-mark.md" "04-question-mark.rs"
    page_05_write_all "05-write-all.md" "05-write-all.rs"
    page_06_unread "06-unread.md" "06-unread.rs"
    page_07_accept_error "07-accept-error.md" "07-accept-error.rs"
    page_08_lost_edge "08-lost-edge.md" "08-lost-edge.rs"
    page_09_silence "09-silence.md" "09-silence.rs"
    page_10_starvation "10-starvation.md" "10-starvation.rs"
    page_11_interrupted "11-interrupted.md" "11-interrupted.rs"
    page_12_log "12-log.md" "12-log.rs"
    page_13_terminated "13-terminated.md" "13-terminated.rs"
    page_14_backlog "14-backlog.md" "14-backlog.rs"
    page_15_buffers "15-buffers.md" "15-buffers.rs"
    page_16_ours "16-ours.md"
}

/// Ten scenarios, turn by turn: what clients, kernel, reactor and slab do. Step with the buttons or with
/// the arrow keys.
///
#[doc = include_str!("../reactor/simulation/picture/picture.html")]
#[cfg(not(doctest))]
pub mod picture {}
