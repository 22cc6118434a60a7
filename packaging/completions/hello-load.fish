complete -c hello-load -s n -l exchanges -d 'How many exchanges' -r
complete -c hello-load -s d -l duration -d 'How long exchanges are begun; 0 until a signal says stop. With -n the run ends at whichever comes first' -r
complete -c hello-load -s c -l concurrency -d 'Exchanges under way at once' -r
complete -c hello-load -s r -l rate -d 'Open loop: so many exchanges are begun a second, and their time counts from when they were meant to begin' -r
complete -c hello-load -l hold -d 'First open so many connections, greeted and silent; in the end finish each with an exchange' -r
complete -c hello-load -l ramp -d 'How many of the held to open a second' -r
complete -c hello-load -l find-rate -d 'Find the highest rate that keeps a goal, such as p99<5ms, echo.p50<1ms or wrong<=0; within -d, by default 60s' -r
complete -c hello-load -l threads -d 'How many threads share -n, -c, -r, --hold and --ramp' -r
complete -c hello-load -l payload -d 'What to send, or MIN-MAX for lengths in between' -r
complete -c hello-load -l max-read -d 'What the servers read at most: an echo has no more, and at least what one segment carries' -r
complete -c hello-load -l source -d 'Where to connect from; repeatable. Each address has ports of its own' -r
complete -c hello-load -l greeting -d 'What the servers send first, escaped as for their option' -r
complete -c hello-load -l timeout -d 'How long an exchange may take; 0 for ever' -r
complete -c hello-load -l html -d 'The report as a page with charts' -r -F
complete -c hello-load -l merge -d 'Do not run. Make one report of those that --json wrote to these files, as if one tool had run; - is stdin' -r -F
complete -c hello-load -l baseline -d 'Compare with the run whose report --json wrote to this file' -r -F
complete -c hello-load -l interval -d 'While the run lasts, a line about each interval of at least 100ms; with --json an object a line, the whole run\'s last' -r
complete -c hello-load -l metrics -d 'While the run lasts, serve metrics for Prometheus at HOST:PORT or unix:PATH' -r
complete -c hello-load -l seed -d 'Makes the payloads the same as in another run' -r
complete -c hello-load -l fail-if -d 'Exit with 3 if this is so, as in p99>50ms, echo.p50>=1ms, rate<10k, missed>5, p99>1.1*baseline; repeatable' -r
complete -c hello-load -l check -d 'One exchange with each, silent if it is right: for health checks'
complete -c hello-load -l json -d 'The report as one JSON object'
complete -c hello-load -l markdown -d 'The report in Markdown, for the summary of a CI job'
complete -c hello-load -l compare -d 'Compare each target with the first, exchange by exchange'
complete -c hello-load -s h -l help -d 'Print help'
complete -c hello-load -s V -l version -d 'Print version'
