use super::*;

fn ticks(axis: &Axis) -> Vec<&str> {
    axis.ticks.iter().map(|(_, label)| &**label).collect()
}

#[test]
fn axes_have_few_and_round_ticks() {
    let check = |most: f64, least_step: f64, labels: &[&str]| {
        assert_eq!(ticks(&Axis::linear(most, least_step, "")), labels);
    };
    check(4.0, 0.0, &["0", "1", "2", "3", "4"]);
    check(26_170.0, 0.0, &["0", "10,000", "20,000", "30,000"]);
    check(0.0, 0.0, &["0", "1"]);
    check(1.0, 0.0, &["0.0", "0.5", "1.0"]);
    check(1.0, 1.0, &["0", "1"]);
    check(0.04, 0.0, &["0.00", "0.01", "0.02", "0.03", "0.04"]);
    let seconds = Axis::until(0.45, " s");
    assert_eq!(ticks(&seconds), ["0.0 s", "0.2 s", "0.4 s"]);
    assert_eq!(ticks(&Axis::until(10.4, " s")), ["0 s", "5 s", "10 s"]);
    let third = Axis::until(0.31, " s"); // 3 * 0.1 is 0.30000000000000004
    assert_eq!(ticks(&third), ["0.0 s", "0.1 s", "0.2 s", "0.3 s"]);
    let powers = |low, high| {
        let axis = Axis::log(low, high, |at| at.to_string());
        axis.ticks.iter().map(|(at, _)| *at).collect::<Vec<_>>()
    };
    assert_eq!(powers(700.0, 12_000.0), [100.0, 1e3, 1e4, 1e5]);
    assert_eq!(powers(0.0, 0.0), [1.0, 10.0]);
}

#[test]
fn values_have_their_places() {
    let axis = Axis::log(1.0, 100.0, |_| String::new());
    let places = [0.0, 1.0, 10.0, 100.0].map(|value| axis.place(value));
    assert_eq!(places, [0.0, 0.0, 0.5, 1.0]);
    assert_eq!(Axis::log(100.0, 1e4, |_| String::new()).place(1e3), 0.5);
    let places = [0.0, 5.0, 10.0, 20.0].map(|value| Axis::until(10.0, "").place(value));
    assert_eq!(places, [0.0, 0.5, 1.0, 2.0]);
}

/// Each part is where its value says, in the drawing and, as a share, among the labels.
#[test]
fn all_parts_have_their_places() {
    let across = Across {
        axis: Axis::until(8.0, " s"),
        stops: vec![(1.0, "one".into()), (6.0, "six".into())],
    };
    let mut chart = Chart::new("about", &across, Axis::linear(5.0, 5.0, ""));
    let series = |values: [f64; 2]| values.map(|value| (value, format!("{value} a second")));
    chart.line("right", "Right", &series([2.0, 3.0]));
    let ends = [(0.0, 2.0), (2.0, 4.0), (4.0, 6.0)];
    let heights = [4.0, 0.0, 0.001].map(|height| (height, format!("{height} high")));
    chart.bars("echo", "Echo", &ends, &heights);
    chart.mark(3.0, "begins", false);
    chart.mark(7.0, "ends", true);
    chart.mark(5.0, "", true);
    chart.level(1.0, "goal");
    chart.dots("held", &[(1.0, 5.0), (2.0, 0.0)]);
    chart.note("noted");
    let expected = r#"<figure class="high">
<figcaption><span class="key right">Right <output></output></span><span class="key echo">Echo <output></output></span><output class="at"></output></figcaption>
<div class="plot" role="img" aria-label="about">
<svg viewBox="0 0 1000 1000" preserveAspectRatio="none">
<path class="grid" d="M0 1000.0H1000"/>
<path class="grid" d="M0 0.0H1000"/>
<path class="grid" d="M0.0 0V1000"/>
<path class="grid" d="M250.0 0V1000"/>
<path class="grid" d="M500.0 0V1000"/>
<path class="grid" d="M750.0 0V1000"/>
<path class="grid" d="M1000.0 0V1000"/>
<path class="line right" d="M125.0 600.0L750.0 400.0"/>
<path class="bars echo" d="M0.0 1000V200.0H250.0V1000M500.0 1000V985.0H750.0V1000"/>
<path class="mark" d="M375.0 0V1000"/>
<path class="mark" d="M875.0 0V1000"/>
<path class="mark" d="M625.0 0V1000"/>
<path class="mark" d="M0 800.0H1000"/>
<path class="rim held" d="M125.0 0.0h0M250.0 1000.0h0"/>
<path class="core held" d="M125.0 0.0h0M250.0 1000.0h0"/></svg>
<span class="y" style="top:100.00%">0</span>
<span class="y" style="top:0.00%">5</span>
<span class="x" style="left:0.00%">0 s</span>
<span class="x" style="left:25.00%">2 s</span>
<span class="x" style="left:50.00%">4 s</span>
<span class="x" style="left:75.00%">6 s</span>
<span class="x" style="left:100.00%">8 s</span>
<span class="mark" style="left:37.50%">begins</span>
<span class="mark left" style="left:87.50%">ends</span>
<span class="level" style="top:80.00%">goal</span></div>
<p class="note">noted</p>
<script type="application/json" class="values">[["2 a second","3 a second"],["4 high","0 high","0.001 high"]]</script>
</figure>
"#;
    // Shown here with one part on each line.
    let drawn = chart.finish("high").replace("><path", ">\n<path");
    let drawn = drawn.replace("</span><span class=\"", "</span>\n<span class=\"");
    let drawn = drawn.replace("</span>\n<span class=\"key", "</span><span class=\"key");
    assert_eq!(drawn, expected, "{drawn}");
}

/// On a phone there is no room for labels that are near to each other.
#[test]
fn labels_that_are_too_near_are_left_out() {
    let ticks = [0.0, 0.05, 0.1, 0.15, 0.2, 1.0].map(|at| (at, format!("at {at}")));
    let across = Across {
        axis: Axis::until(1.0, "").labelled(ticks.into()),
        stops: vec![],
    };
    let chart = Chart::new("", &across, Axis::until(1.0, "")).finish("");
    let labelled = |class: &str, at: f64| {
        let left = at * 100.0;
        chart.contains(&format!(
            "<span class=\"{class}\" style=\"left:{left:.2}%\">at {at}<"
        ))
    };
    assert!(labelled("x", 0.0) && labelled("x wide", 0.1), "{chart}");
    assert!(labelled("x", 0.2) && labelled("x", 1.0), "{chart}");
    assert!(!chart.contains("at 0.05"), "{chart}");
}
