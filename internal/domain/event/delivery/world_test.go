package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/event/delivery"
	"github.com/berth-registry/berth/internal/domain/event/rule"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childDatabase) != "" {
		os.Exit(childMain())
	}
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const (
	// patience is how long a test waits for what has to come.
	patience = 3 * time.Minute

	hook    = "arn:aws:events:us-east-1:111111111111:api-destination/hook/1"
	letters = "arn:aws:sqs:us-east-1:111111111111:letters"
	queue   = "arn:aws:sqs:us-east-1:111111111111:queue"
)

var (
	home = name.Registry{Account: "111111111111", Region: "us-east-1"}

	quick = delivery.Options{Poll: 50 * time.Millisecond, Lease: 2 * time.Second, FirstPause: 5 * time.Millisecond, LongestPause: 50 * time.Millisecond, Parallel: 4}
)

// got is a message that a target has taken.
type got struct{ arn, id, repository, tag string }

// receiver is what messages are sent to. It takes a message unless refuse says otherwise.
type receiver struct {
	mu     sync.Mutex
	refuse func(arn string, m eventsink.Message) error
	taken  []got
	under  map[string]bool // lanes in which something is being sent
}

func (r *receiver) send(_ context.Context, account name.AccountID, region name.Region, arn string, m eventsink.Message) error {
	if account != home.Account || region != home.Region {
		return eventsink.Permanent(fmt.Errorf("sent for %s/%s", account, region))
	}
	lane := arn + m.Rule + m.Group
	r.mu.Lock()
	overlap := r.under[lane]
	r.under[lane] = true
	r.mu.Unlock()
	runtime.Gosched()
	r.mu.Lock()
	defer r.mu.Unlock()
	if overlap && arn != letters { // which come in no order
		return eventsink.Permanent(errors.New("two messages of one repository are sent at once"))
	}
	r.under[lane] = false
	if r.refuse != nil {
		if err := r.refuse(arn, m); err != nil {
			return err
		}
	}
	r.taken = append(r.taken, got{arn, m.ID, m.Group[strings.LastIndex(m.Group, "/")+1:], tagOf(string(m.Body))})
	return nil
}

// tagOf is the tag that the body of an image's event names.
func tagOf(body string) string {
	_, rest, _ := strings.Cut(body, `"image-tag":`)
	rest = strings.TrimLeft(rest, ` "`)
	tag, _, _ := strings.Cut(rest, `"`)
	return tag
}

func (r *receiver) set(refuse func(arn string, m eventsink.Message) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = refuse
}

// all are the messages that came to a target, without those that came twice.
func (r *receiver) all(arn string) (once []got) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]bool{}
	for _, g := range r.taken {
		if g.arn == arn && !seen[g.id] {
			seen[g.id] = true
			once = append(once, g)
		}
	}
	return once
}

type world struct {
	t        *testing.T
	db       *sqldb.DB
	rules    *rule.Service
	outbox   *event.Outbox
	receiver *receiver
	clock    clock.Clock
}

func start(t *testing.T, db *sqldb.DB, clk clock.Clock) *world {
	t.Helper()
	w := &world{t: t, db: db, rules: rules(db, clk), outbox: event.NewOutbox(), receiver: &receiver{under: map[string]bool{}}, clock: clk}
	w.rule("all", rule.Settings{ID: "hook", ARN: hook})
	return w
}

func rules(db *sqldb.DB, clk clock.Clock) *rule.Service {
	return rule.New(rule.Config{DB: db, Clock: clk, Log: slog.New(slog.DiscardHandler), Known: func(context.Context, name.AccountID, name.Region, string) error { return nil }})
}

// rule puts a rule for all events of ECR.
func (w *world) rule(ruleName string, targets ...rule.Settings) {
	w.t.Helper()
	if _, err := w.rules.Put(w.t.Context(), rule.Put{Home: home, Name: ruleName, Pattern: `{"source": ["aws.ecr"]}`}); err != nil {
		w.t.Fatal(err)
	}
	failures, err := w.rules.PutTargets(w.t.Context(), home, ruleName, targets)
	if err != nil || len(failures) > 0 {
		w.t.Fatal(err, failures)
	}
}

// node is a service on a database.
func (w *world) node(db *sqldb.DB, o delivery.Options) *delivery.Service {
	return delivery.New(delivery.Config{DB: db, Clock: w.clock, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Rules: rules(db, w.clock), Send: w.receiver.send, Options: o})
}

// run runs a node until the test, or what is returned, ends.
func (w *world) run(s *delivery.Service) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				w.t.Error(err)
			}
		case <-time.After(patience):
			w.t.Error("the node does not stop")
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// push records the event of a push.
func (w *world) push(repo name.Repository, tag string) {
	w.t.Helper()
	if err := record(w.t.Context(), w.db, w.outbox, w.clock, repo, tag); err != nil {
		w.t.Error(err)
	}
}

func record(ctx context.Context, db *sqldb.DB, outbox *event.Outbox, clk clock.Clock, repo name.Repository, tag string) error {
	return db.Update(ctx, func(tx *sqldb.Tx) error {
		return outbox.Record(ctx, tx, event.Event{
			Registry: home, Kind: event.ImagePushed, OccurredAt: clk.Now(),
			Detail: event.ImageDetail{Repository: repo, Digest: name.SHA256([]byte(tag)), Tag: name.Tag(tag), MediaType: "application/vnd.oci.image.manifest.v1+json"},
		})
	})
}

// until waits for a condition.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: it does not happen; taken: %v", what, w.receiver.all(hook))
		}
	}
}

// tags are those of a repository's messages at a target, in the order of their coming.
func (w *world) tags(arn, repo string) string {
	var tags []string
	for _, g := range w.receiver.all(arn) {
		if g.repository == repo {
			tags = append(tags, g.tag)
		}
	}
	return strings.Join(tags, " ")
}

func (w *world) stats(s *delivery.Service) delivery.Stats {
	w.t.Helper()
	st, err := s.Stats(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return st
}

// idle waits until nothing is left to route or to send.
func (w *world) idle(s *delivery.Service) {
	w.t.Helper()
	w.until("everything is sent", func() bool {
		st := w.stats(s)
		return st.Unrouted == 0 && st.Pending == 0
	})
}

func (w *world) list(s *delivery.Service, f delivery.Filter) []delivery.Delivery {
	w.t.Helper()
	all, _, err := s.List(w.t.Context(), f)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// leaseOut leaves the leases of all targets as a node does that is killed.
func (w *world) leaseOut(d time.Duration) {
	w.t.Helper()
	if err := w.db.Update(w.t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(w.t.Context(), `INSERT INTO event_stream (rule_id, target_id, owner, lease_until) SELECT rule_id, id, 'killed', $1 FROM event_target`, w.clock.Now().Add(d).UnixMicro())
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) count(query string) (n int) {
	w.t.Helper()
	if err := w.db.View(w.t.Context(), func(tx *sqldb.Tx) error { return tx.QueryRow(w.t.Context(), query).Scan(&n) }); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// each runs a test on both databases; nodes gives handles as nodes have them: of their
// own on PostgreSQL, one on SQLite.
func each(t *testing.T, fn func(t *testing.T, nodes []*sqldb.DB)) {
	t.Run("sqlite", func(t *testing.T) {
		db := sqldbtest.SQLite(t)
		fn(t, []*sqldb.DB{db, db, db})
	})
	t.Run("postgres", func(t *testing.T) {
		url := sqldbtest.PostgresURL(t)
		fn(t, []*sqldb.DB{sqldbtest.OpenPostgres(t, url), sqldbtest.OpenPostgres(t, url), sqldbtest.OpenPostgres(t, url)})
	})
}

var errAway = errors.New("the target is away")

// fileDatabase is a database that other processes open, given what they open it by.
func fileDatabase(t *testing.T, kind string) string {
	if kind == "postgres" {
		return sqldbtest.PostgresURL(t)
	}
	return filepath.Join(t.TempDir(), "child.db")
}
