complete -c hello-echo -s l -l listen -d 'Where to listen: HOST:PORT, [V6]:PORT, unix:PATH or unix:@NAME; repeatable. The variable takes a list with commas. Port 0 is any free one; [::] is dual-stack [HELLO_ECHO_LISTEN, default 127.0.0.1:8000]' -r
complete -c hello-echo -l greeting -d 'What every client is sent first; may be empty. Escapes: \\n \\r \\t \\0 \\\\ \\xHH [HELLO_ECHO_GREETING, default hello\\n]' -r
complete -c hello-echo -l max-read -d 'The longest message that is echoed: 1 to 1048576 bytes [HELLO_ECHO_MAX_READ, default 1000]' -r
complete -c hello-echo -l backlog -d 'How many clients may wait to be accepted; others try again. The kernel clamps it to net.core.somaxconn [HELLO_ECHO_BACKLOG, default 4096]' -r
complete -c hello-echo -l reuse-port -d 'Let other processes listen on the same TCP ports; all of them must say so [HELLO_ECHO_REUSE_PORT, default no]' -r -f -a "true\t''
false\t''"
complete -c hello-echo -l timeout -d 'How long a client may take from its connection to the end of its echo; 0 for ever [HELLO_ECHO_TIMEOUT, default 60s]' -r
complete -c hello-echo -l linger -d 'How long to wait for the client\'s FIN after the echo; 0 closes at once [HELLO_ECHO_LINGER, default 2s]' -r
complete -c hello-echo -l grace -d 'How long a shutdown waits for clients that are not done; 0 does not wait [HELLO_ECHO_GRACE, default 10s]' -r
complete -c hello-echo -l max-connections -d 'The most clients at once; others wait in the backlog for their turn [HELLO_ECHO_MAX_CONNECTIONS, default what the descriptor limit allows]' -r
complete -c hello-echo -l stats -d 'How often to log the counters, 10ms or more; 0 is never [HELLO_ECHO_STATS, default 0]' -r
complete -c hello-echo -l metrics -d 'Where to serve the counters for Prometheus, over HTTP at /metrics [HELLO_ECHO_METRICS, default off]' -r
complete -c hello-echo -l log-format -d 'What a log line looks like: text, or json for an object a line [HELLO_ECHO_LOG_FORMAT, default text]' -r -f -a "text\t''
json\t''"
complete -c hello-echo -s v -l verbose -d 'Log every connection; -vv everything'
complete -c hello-echo -s q -l quiet -d 'Log warnings and errors only; -qq errors, -qqq nothing'
complete -c hello-echo -s h -l help -d 'Print help'
complete -c hello-echo -s V -l version -d 'Print version'
