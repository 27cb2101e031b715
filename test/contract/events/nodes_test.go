package events

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// holds says whether the process has the connection from this address, 127.0.0.1:port.
func holds(t *testing.T, pid int, from string) bool {
	t.Helper()
	port := must(strconv.ParseUint(from[strings.LastIndexByte(from, ':')+1:], 10, 16))(t)
	inode := ""
	for line := range strings.Lines(string(must(os.ReadFile("/proc/net/tcp"))(t))) {
		if fields := strings.Fields(line); len(fields) > 9 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && fields[3] == "01" && fields[9] != "0" {
			inode = fields[9]
		}
	}
	links := must(filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)))(t)
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == "socket:["+inode+"]" { // others may be closed by now
			return true
		}
	}
	return false
}

// TestNodes: of two nodes the one that sends to the webhook is killed, and the other goes
// on where it stood.
func TestNodes(t *testing.T) {
	t.Parallel()
	o := harness.Options{Shape: harness.ScaleOut, Config: "events: {allow_private: true}\nquota: {rates: off}\n"}
	first := harness.Start(t, o)
	w := around(t, first)
	nodes := []*harness.Server{first, harness.StartNode(t, first, o)}
	h := newHook(t, nil)
	arn := h.destination(w, "hook")
	w.cli(`aws events put-rule --name all --event-pattern '{"source": ["aws.ecr"]}'
aws events put-targets --rule all --targets Id=1,Arn=` + arn)
	w.CreateRepository(t, "app")
	var done atomic.Int64
	k := &worker{repo: "app", done: &done}
	k.prepare(t, first.Registry(t))
	var want []string
	push := func(s *harness.Server, n int) {
		t.Helper()
		registry := harness.NewRegistry(s.Endpoint, "Basic "+s.Token(t), http.DefaultTransport)
		for range n {
			tag := fmt.Sprintf("v%02d", len(want))
			if err := registry.PutManifest(t.Context(), "app", tag, harness.OCIImage, k.image(t, tag)); err != nil {
				t.Fatal(err)
			}
			want = append(want, "PUSH "+tag)
		}
	}
	arrived := func() bool { order, _ := sum(t, h.events()); return len(order["app"]) >= len(want) }

	push(nodes[0], 3)
	wait(t, "the first events", arrived)
	sender := -1
	wait(t, "the node that sends", func() bool {
		from := h.from()
		for i, n := range nodes {
			if holds(t, n.Pid(), from) {
				sender = i
			}
		}
		return sender >= 0
	})
	other := nodes[1-sender]
	push(other, 10) // some of which may be on their way
	nodes[sender].Kill()
	push(other, 10)
	wait(t, "all events by the other node", arrived)
	if !holds(t, other.Pid(), h.from()) {
		t.Errorf("the last event has come from neither node")
	}
	if err := nodes[sender].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	push(nodes[sender], 3)
	wait(t, "events once both are there again", arrived)
	order, again := sum(t, h.events())
	if !reflect.DeepEqual(order, map[string][]string{"app": want}) {
		t.Errorf("it has\n%q\nwant\n%q", order["app"], want)
	}
	h.signed()
	t.Logf("the node %d was killed; %d events came again", sender, again)
}
