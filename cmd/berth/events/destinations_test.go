package events_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/berth-registry/berth/cmd/berth/events"
	"github.com/berth-registry/berth/internal/app/eventadmin"
	"github.com/berth-registry/berth/internal/app/eventing"
	"github.com/berth-registry/berth/internal/domain/event/destination"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/eventsink/awstest"
	"github.com/berth-registry/berth/internal/infra/eventsink/sinktest"
	"github.com/berth-registry/berth/internal/infra/eventsink/webhook"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const queue = "arn:aws:sqs:us-east-1:111122223333:images"

// place is a server's administration of destinations.
type place struct {
	t     *testing.T
	admin http.Handler
	files string
	// secrets is a directory with files that hold secrets.
	secrets string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	db, ctx := sqldbtest.SQLite(t), t.Context()
	p := &place{t: t, files: t.TempDir(), secrets: t.TempDir()}
	p.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	p.must(db.Update(ctx, func(tx *sqldb.Tx) error {
		for _, account := range []string{"111122223333", "444455556666"} {
			if _, err := tx.Exec(ctx, `INSERT INTO account (id, name, created_at) VALUES ($1, $2, $3)`, account, "", 1); err != nil {
				return err
			}
		}
		return nil
	}))
	clk := clock.NewFake(time.Now())
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clk)
	p.must(err)
	maker := eventing.Maker{AllowPrivate: true, AllowHTTP: true, Files: p.files, Clock: clk}
	destinations := destination.New(destination.Config{DB: db, Keys: ring, Clock: clk, Check: maker.Check, NewSecret: webhook.NewSecret,
		InUse: func(_ context.Context, _ name.AccountID, _ name.Region, arn string) ([]string, error) {
			if arn == queue {
				return []string{"pushes"}, nil
			}
			return nil, nil
		}})
	senders := eventing.New(destinations, maker, slog.New(slog.DiscardHandler))
	t.Cleanup(senders.Close)
	mux := http.NewServeMux()
	eventadmin.Destinations{
		Destinations: destinations, Senders: senders, Default: name.Registry{Account: "111122223333", Region: "us-east-1"}, Regions: []name.Region{"us-east-1", "eu-west-1"},
	}.Routes(mux)
	p.admin = mux
	return p
}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// secret makes a file that holds a secret.
func (p *place) secret(text string) string {
	p.t.Helper()
	f, err := os.CreateTemp(p.secrets, "")
	p.must(err)
	_, err = f.WriteString(text)
	p.must(errors.Join(err, f.Close()))
	return f.Name()
}

// call is an Admin that asks the server without a socket.
func (p *place) call(ctx context.Context, _, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	w := httptest.NewRecorder()
	p.admin.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, path, bytes.NewReader(body)))
	if w.Code != http.StatusOK {
		return errors.New(strings.TrimSpace(w.Body.String()))
	}
	return json.Unmarshal(w.Body.Bytes(), out)
}

func (p *place) run(args ...string) (string, error) {
	p.t.Helper()
	var out bytes.Buffer
	parser, err := kong.New(&events.Command{}, kong.Name("berth events"), kong.BindTo(p.t.Context(), (*context.Context)(nil)), kong.BindTo(&out, (*io.Writer)(nil)),
		kong.Bind(events.Admin(p.call)), kong.Exit(func(int) {}), kong.Writers(&out, &out))
	p.must(err)
	parsed, err := parser.Parse(append([]string{"destination"}, args...))
	if err == nil {
		err = parsed.Run()
	}
	return out.String(), err
}

// says runs a command that succeeds, and looks for texts in what it says.
func (p *place) says(args []string, want ...string) string {
	p.t.Helper()
	got, err := p.run(args...)
	if err != nil {
		p.t.Fatalf("%q: %v", args, err)
	}
	for _, text := range want {
		if !strings.Contains(got, text) {
			p.t.Errorf("%q says\n%s\nwithout %q", args, got, text)
		}
	}
	return got
}

// fails runs a command that fails with a text.
func (p *place) fails(args []string, want string) {
	p.t.Helper()
	if got, err := p.run(args...); err == nil || !strings.Contains(err.Error(), want) {
		p.t.Errorf("%q says %q, %v; want %q", args, got, err, want)
	}
}

func words(s string) []string { return strings.Fields(s) }

func TestDestinations(t *testing.T) {
	p := newPlace(t)
	p.says(words("list"), "There are no destinations.")
	p.says(words("create file log --path team/events.jsonl"), "log", "111122223333/us-east-1", `{"path":"team/events.jsonl"}`, "aws events put-targets --rule RULE --targets Id=1,Arn=arn:aws:events:us-east-1:111122223333:api-destination/log/")
	p.says(words("create file log --path b --account 444455556666 --region eu-west-1"), "arn:aws:events:eu-west-1:444455556666:api-destination/log/")
	aws := awstest.Start(t, queue)
	created := p.says(words("create sqs images "+queue+" --endpoint "+aws.URL()+" --access-key-id "+awstest.AccessKeyID+" --secret-access-key-file "+p.secret(awstest.SecretAccessKey+"\n")), queue, "secretAccessKey")
	if strings.Contains(created, awstest.SecretAccessKey) {
		t.Errorf("the secret is shown:\n%s", created)
	}
	p.says(words("list"), "NAME", "images", "444455556666", queue)
	if got := p.says(words("list --account 444455556666"), "eu-west-1"); strings.Contains(got, queue) {
		t.Error(got)
	}
	var shown eventadmin.Destination
	p.must(json.Unmarshal([]byte(p.says(words("show images --json"))), &shown))
	if shown.ARN != queue || strings.Join(shown.Secrets, ",") != "secretAccessKey" || shown.Kind != destination.SQS {
		t.Errorf("%+v", shown)
	}
	p.says(words("test images"), "The destination has taken the event ")
	p.says(words("test "+queue+" --json"), `"id": "`)
	if got := aws.Taken(queue); len(got) != 2 || !strings.Contains(got[0].Body, `"detail-type":"Berth Test Event"`) {
		t.Errorf("%+v", got)
	}
	aws.Down()
	p.fails(words("test images"), "the destination has not taken the event: the queue: ")
	p.fails(words("test images --json"), "the destination has not taken the event")
	p.fails(words("test none"), "There is no destination none")
	p.fails(words("show log --region eu-west-1"), "There is no destination log")
	p.fails(words("show log --region moon-1"), "not served here")
	p.fails(words("show log --account 1"), "no account")
	p.fails(words("delete images"), "the rules pushes")
	p.says(words("delete images --force"), "The destination images is gone.")
	p.says(words("delete log"), "The destination log is gone.")
	p.says(words("list"), "444455556666")
}

func TestWebhooks(t *testing.T) {
	p := newPlace(t)
	got := make(chan http.Header, 10)
	server := sinktest.Serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }), nil)
	out := p.says([]string{
		"create", "webhook", "hook", "--url", "http://" + server.Address, "--header", "X-A=a;b=c,d", "--header", "X-B=b", "--header-file", "Authorization=" + p.secret("Bearer x\n"), "--timeout", "5s",
	}, "header:Authorization, header:X-A, header:X-B, signing", "not shown again", `"timeoutSeconds":5`)
	secret := regexp.MustCompile(`whsec_\S+`).FindString(out)
	if secret == "" || strings.Contains(out, "Bearer") {
		t.Error(out)
	}
	p.says(words("test hook"), "taken")
	if h := <-got; h.Get("X-A") != "a;b=c,d" || h.Get("X-B") != "b" || h.Get("Authorization") != "Bearer x" {
		t.Error(h)
	}
	rotated := p.says(words("rotate-secret hook"), "whsec_", "signs beside it until ")
	if strings.Contains(rotated, secret) {
		t.Error("it is the same")
	}
	p.says(words("test hook"), "taken")
	if h := <-got; strings.Count(h.Get("webhook-signature"), "v1,") != 2 {
		t.Error(h)
	}
	own := webhook.NewSecret()
	p.says(words("create webhook own --url https://example.com --signing-secret-file "+p.secret(own)), own)
	p.fails(words("create webhook a --url https://example.com --timeout 1500ms"), "whole seconds")
	p.fails(words("create webhook a --url ftp://example.com"), "scheme")
	p.fails(words("create webhook a --url https://example.com --signing-secret-file "+p.secret("\n")), "is empty")
	p.fails(words("create webhook a --url https://example.com --ca-file "+filepath.Join(p.secrets, "none")), "no such file")
	p.fails(words("create webhook hook --url https://example.com"), "already")
	p.says(words("create file log --path a"))
	p.fails(words("rotate-secret log"), "only webhooks")
}

func TestOtherKinds(t *testing.T) {
	p := newPlace(t)
	p.says(words("create nats n --url nats://a:4222,nats://b:4222 --subject x.{repository} --jetstream --user u --password-file "+p.secret("p")), `"jetstream":true`, `"user":"u"`, "password")
	p.says(words("create sns t arn:aws:sns:us-east-1:111122223333:images"), "arn:aws:sns:")
	p.says(words("create eventbridge b arn:aws:events:eu-central-1:111122223333:event-bus/default --source-prefix x. --id-member id --target-region eu-central-1"), `"sourcePrefix":"x."`, `"idMember":"id"`, `"region":"eu-central-1"`)
	p.fails(words("create sqs q arn:aws:sns:us-east-1:111122223333:images"), "no ARN of sqs")
	p.fails(words("create nats m --url http://a"), "nats://")
}

func TestDestinationHelp(t *testing.T) {
	p := newPlace(t)
	for args, want := range map[string]string{
		"--help": "put-targets", "create --help": "Standard Webhooks", "create webhook --help": "PathParameterValue", "create nats --help": "{detail-type}",
		"create eventbridge --help": "berth.", "rotate-secret --help": "24 hours", "delete --help": "--force", "test --help": "Berth Test Event", "list --help": "all accounts",
	} {
		got, _ := p.run(words(args)...) // the parser that was told not to end goes on to complain
		if !strings.Contains(got, want) {
			t.Errorf("%s says\n%s\nwithout %q", args, got, want)
		}
	}
}
