#!/bin/sh
# Pushes each line of its input to a shared WebSocket, as one message each:
#
#     csp-websocket serve --control unix:/tmp/control           # and open the chat of the page it prints
#     ping -c 5 127.0.0.1 | tests/examples/push.sh /tmp/control ID
#
# ID is the WebSocket's, as the page shows it. Ends with 0 at the end of the input, with 1 once nobody is there to
# push to. Needs curl.
set -u
if [ $# -ne 2 ]; then
    echo "usage: push.sh SOCKET ID" >&2
    exit 2
fi
while IFS= read -r line || [ -n "$line" ]; do
    while :; do
        status=$(printf %s "$line" | curl --silent --show-error --output /dev/null --write-out '%{http_code}' \
            --max-time 10 --unix-socket "$1" --data-binary @- "http://localhost/websockets/$2") || exit 1
        case $status in
            202) break ;;       # in the WebSocket's outbox
            429) sleep 0.1 ;;   # the client is slower than the job: wait for it
            404 | 410) echo "push.sh: nobody is there any more" >&2; exit 1 ;;
            *) echo "push.sh: refused with $status" >&2; exit 1 ;;
        esac
    done
done
