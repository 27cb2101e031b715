package events

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/berth-registry/berth/internal/infra/eventsink/awstest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// TestDeadLetters: a target that refuses one repository for good, what becomes of its
// events, and what an operator does with them.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{Config: "events: {allow_private: true, files: " + filepath.Join(t.TempDir(), "told") + "}\n"})
	mended := make(chan struct{})
	h := newHook(t, func(_ int, e happened) int {
		select {
		case <-mended:
			return http.StatusOK
		default:
		}
		if e.Repository == "broken" {
			return http.StatusGone
		}
		return http.StatusOK
	})
	const letters = "arn:aws:sqs:us-east-1:000000000000:letters"
	cloud := awstest.Start(t, letters)
	w.destination(t, "sqs", "letters", letters, "--endpoint", cloud.URL(), "--access-key-id", awstest.AccessKeyID, "--secret-access-key-file", secret(t, awstest.SecretAccessKey))
	arn := h.destination(w, "hook")
	w.cli(`aws events put-rule --name pushes --event-pattern '{"detail": {"action-type": ["PUSH"]}}'
aws events put-targets --rule pushes --targets 'Id=hook,Arn=` + arn + `,DeadLetterConfig={Arn=` + letters + `},RetryPolicy={MaximumRetryAttempts=2,MaximumEventAgeInSeconds=3600}'`)
	if said := w.berth(t, "events", "list"); said != "Nothing waits to be delivered, and nothing is dead.\n" {
		t.Errorf("berth events list: %q", said)
	}
	registry := w.Registry(t)
	w.CreateRepository(t, "broken", "whole")
	registry.PushImage(t, "broken", "v1", 1, 100)
	registry.PushImage(t, "broken", "v2", 2, 100)
	registry.PushImage(t, "broken", "v3", 3, 100)
	registry.PushImage(t, "whole", "v1", 4, 100)
	wait(t, "the other repository's event, which waits for none of them", func() bool {
		return slices.ContainsFunc(h.events(), func(e happened) bool { return e.Repository == "whole" })
	})
	var dead []delivery
	wait(t, "three dead deliveries", func() bool { dead = w.deliveries(t, "--state", "dead"); return len(dead) == 3 })
	wait(t, "three dead letters", func() bool { return len(cloud.Taken(letters)) == 3 })
	for _, m := range cloud.Taken(letters) {
		e := read(t, m.Body)
		if e.Repository != "broken" || !slices.ContainsFunc(dead, func(d delivery) bool { return d.EventID == e.ID }) {
			t.Errorf("the letter %s", m.Body)
		}
	}
	if text := w.berth(t, "events", "list", "--rule", "pushes", "--repository", "broken"); strings.Count(text, "dead") != 3 || !strings.Contains(text, "410") {
		t.Errorf("berth events list:\n%s", text)
	}
	if text := w.berth(t, "events", "show", dead[0].ID); !strings.Contains(text, dead[0].EventID) || !regexp.MustCompile(`Dead letter +sent to `+letters).MatchString(text) || !strings.Contains(text, `"image-tag": "v1"`) {
		t.Errorf("berth events show:\n%s", text)
	}
	w.refused(t, "berth events list", "events", "show", "4711")

	before := len(h.events())
	if said := w.berth(t, "events", "drop", dead[1].ID); said != "Dropped: 1 delivery.\n" {
		t.Errorf("berth events drop: %q", said)
	}
	close(mended)
	if said := w.berth(t, "events", "retry", "--all", "--rule", "pushes"); said != "Sent again: 2 deliveries.\n" {
		t.Errorf("berth events retry: %q", said)
	}
	wait(t, "nothing to be left", func() bool { return len(w.deliveries(t)) == 0 })
	var again []string
	for _, e := range h.events()[before:] {
		if e.ID != dead[0].EventID && e.ID != dead[2].EventID {
			t.Errorf("%s is a new id", e.Body)
		}
		again = append(again, e.Line)
	}
	if !slices.Equal(again, []string{"PUSH v1", "PUSH v3"}) {
		t.Errorf("sent again are %q", again)
	}
	h.signed()

	t.Log("the secret is changed while both sign")
	out := w.berth(t, "events", "destination", "rotate-secret", "hook")
	key := regexp.MustCompile(`whsec_\S+`).FindString(out)
	if key == "" || !strings.Contains(out, "The one before signs beside it until ") {
		t.Fatalf("berth events destination rotate-secret: %s", out)
	}
	for _, verifier := range []*standardwebhooks.Webhook{nil, must(standardwebhooks.NewWebhook(key))(t)} {
		if verifier != nil {
			h.verify(verifier)
		}
		if said := w.berth(t, "events", "destination", "test", "hook"); !strings.Contains(said, "The destination has taken the event ") {
			t.Errorf("berth events destination test: %q", said)
		}
		h.signed()
	}

	t.Log("what waits for a target that is away")
	w.cli("aws events put-targets --rule pushes --targets Id=hook,Arn=" + arn) // with as many tries as AWS makes
	h.Down()
	registry.PushImage(t, "whole", "v2", 5, 100)
	registry.PushImage(t, "whole", "v3", 6, 100)
	var waiting []delivery
	wait(t, "two that wait, the first so long that it is not sent by itself meanwhile", func() bool {
		waiting = w.deliveries(t, "--state", "pending", "--repository", "whole")
		return len(waiting) == 2 && waiting[0].Attempts >= 6
	})
	if !strings.Contains(waiting[0].LastError, "connection refused") {
		t.Errorf("it failed with %q", waiting[0].LastError)
	}
	if text := w.berth(t, "events", "list"); !strings.Contains(text, "after others") {
		t.Errorf("berth events list:\n%s", text)
	}
	h.Up()
	w.berth(t, "events", "retry", waiting[0].ID)
	wait(t, "the two", func() bool {
		all := h.events()
		return len(all) > 1 && all[len(all)-2].Line == "PUSH v2" && all[len(all)-1].Line == "PUSH v3"
	})
	h.signed()
	wait(t, "nothing to be left of these", func() bool { return len(w.deliveries(t, "--state", "pending")) == 0 })
	w.refused(t, "pushes", "events", "destination", "delete", "hook")
	if said := w.berth(t, "events", "destination", "delete", "hook", "--force"); said != "The destination hook is gone.\n" {
		t.Errorf("berth events destination delete: %q", said)
	}
}

// TestRefusals: destinations that cannot be, and those that nothing is sent to.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{})
	create := []string{"events", "destination", "create"}
	webhook := func(url string, flags ...string) []string {
		return slices.Concat(create, []string{"webhook", "hook", "--url", url}, flags)
	}
	w.refused(t, "events.allow_http", webhook("http://example.com/hook")...)
	w.refused(t, "give an Authorization header", webhook("https://user:secret@example.com/hook")...)
	w.refused(t, "the URL is none", webhook("example.com")...)
	w.refused(t, "whole seconds", webhook("https://example.com/hook", "--timeout", "1500ms")...)
	w.refused(t, "a signing secret is", webhook("https://example.com/hook", "--signing-secret-file", secret(t, "guess"))...)
	w.refused(t, "none in PEM", webhook("https://example.com/hook", "--ca-file", secret(t, "guess"))...)
	w.refused(t, "no such file", webhook("https://example.com/hook", "--ca-file", "/nowhere")...)
	w.refused(t, "is set by the sender itself", webhook("https://example.com/hook", "--header", "Webhook-Id=1")...)
	w.refused(t, "no path below the directory for events", append(create, "file", "log", "--path", "../log")...)
	w.refused(t, "no path below the directory for events", append(create, "file", "log", "--path", "/etc/passwd")...)
	w.refused(t, "placeholder that is none", append(create, "nats", "log", "--url", "nats://127.0.0.1:1", "--subject", "berth.{team}")...)
	w.refused(t, "arn", append(create, "sqs", "queue", "arn:aws:sns:us-east-1:000000000000:topic")...)
	if text := w.berth(t, "events", "destination", "list"); strings.Contains(text, "arn:") {
		t.Errorf("refused, and there: %s", text)
	}

	h := newHook(t, nil)
	h.destination(w, "private")
	w.refused(t, "events.allow_private", "events", "destination", "test", "private")
	w.refused(t, "in us-east-1 already. Delete it first, or take another name.", append(create, "file", "private", "--path", "log")...)
	if len(h.events()) > 0 {
		t.Error("it was sent to a private address")
	}
	if text := w.berth(t, "events", "destination", "show", "private"); strings.Contains(text, "whsec_") {
		t.Errorf("a secret is shown: %s", text)
	}

	t.Log("a path that is taken by what is no file")
	if err := os.MkdirAll(filepath.Join(w.Data, "events", "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.destination(t, "file", "taken", "--path", "taken")
	w.refused(t, "the destination has not taken the event", "events", "destination", "test", "taken")
}
