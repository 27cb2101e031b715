package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/test/contract/harness"
)

// TestKilled kills the server in the middle of calls, again and again. Records are written
// every second: those of calls that were answered longer ago are there, and in one log file.
func TestKilled(t *testing.T) {
	t.Parallel()
	const kills, workers = 3, 4
	// loss is many times the second that docs/audit.md gives, for a machine that is busy.
	const loss = 15 * time.Second
	dir := t.TempDir()
	s := harness.Start(t, harness.Options{Config: "audit: {delivery: 1s, buckets: {logs: " + dir + "}}\n"})
	b := newShell(t, s.Endpoint, s.Region).as(root(s))
	b.aws("cloudtrail", "create-trail", "--name", "all", "--s3-bucket-name", "logs")
	b.aws("cloudtrail", "start-logging", "--name", "all")

	// answered is when the repository's call was answered, of how many lives ago.
	answered := map[string]time.Time{}
	var killed []time.Time
	made := 0
	for range kills {
		var mu sync.Mutex
		var stop atomic.Bool
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for !stop.Load() {
					mu.Lock()
					made++
					repo := fmt.Sprintf("r-%d", made)
					mu.Unlock()
					if _, err := s.ECR().CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &repo}); err == nil {
						mu.Lock()
						answered[repo] = time.Now()
						mu.Unlock()
					}
				}
			})
		}
		// Not before the first record of this life is there.
		mu.Lock()
		from := len(answered)
		mu.Unlock()
		wait(t, "records of calls", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(answered) > from+50
		})
		wait(t, "a record that is written", func() bool {
			out, err := s.Command(t.Context(), "audit", "lookup", "--data", s.Data, "--from", "3s", "--limit", "1", "EventName=CreateRepository").Output()
			return err == nil && !strings.Contains(string(out), "There are no")
		})
		mu.Lock()
		s.Kill()
		killed = append(killed, time.Now())
		mu.Unlock()
		stop.Store(true)
		wg.Wait()
		must(t, "the start after kill -9", s.Start(t.Context()))
	}
	recorded := map[string]string{}
	for _, r := range all(t, s, "EventName=CreateRepository") {
		if r.ErrorCode == "" {
			recorded[r.RequestParameters.RepositoryName] = r.EventID
		}
	}
	lost, most := 0, time.Duration(0)
	for repo, at := range answered {
		if recorded[repo] != "" {
			continue
		}
		lost++
		for _, k := range killed {
			if at.Before(k) {
				if most = max(most, k.Sub(at)); k.Sub(at) > loss {
					t.Errorf("%s was made %s before the kill, and is in no record", repo, k.Sub(at))
				}
				break
			}
		}
	}
	if len(recorded) == 0 || lost == len(answered) {
		t.Errorf("%d records of %d calls", len(recorded), len(answered))
	}
	t.Logf("%d calls answered, %d kills, %d without a record, the oldest of them %s before its kill", len(answered), kills, lost, most.Round(time.Millisecond))
	// No file has lost or repeated one.
	wait(t, "the files", func() bool {
		there := delivered(t, directory(dir))
		for _, id := range recorded {
			if _, ok := there[id]; !ok {
				return false
			}
		}
		return true
	})
}

// TestOverflow keeps the records from being written, while more calls come than there is
// memory for: with block the calls wait and each has its record, with drop they go on, and
// those without a record are counted.
func TestOverflow(t *testing.T) {
	t.Parallel()
	// Each record has parameters of nearly 100,000 bytes; 64 MiB of them are kept in memory.
	const calls, workers, fit = 900, 16, 64 << 20 / 95_000
	manifest := `{"schemaVersion":2,"pad":"` + strings.Repeat("x", 95_000) + `"}`
	for _, overflow := range []string{"block", "drop"} {
		t.Run(overflow, func(t *testing.T) {
			t.Parallel()
			admin := harness.FreeAddress(t)
			s := harness.Start(t, harness.Options{Shape: harness.PostgresFiles, Config: "admin_listen: " + admin + "\naudit: {overflow: " + overflow + "}\n"})
			url := s.Backing.DatabaseURL
			if sign := "?"; strings.Contains(url, sign) {
				url += "&"
			} else {
				url += sign
			}
			url += "idle_in_transaction_session_timeout=0" // however long the machine takes
			db, err := sqldb.OpenPostgres(t.Context(), sqldb.PostgresOptions{URL: url})
			must(t, "the database", err)
			t.Cleanup(func() { must(t, "closing it", db.Close()) })
			held, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			let := sync.OnceFunc(func() { close(release) })
			go func() {
				done <- db.Update(context.WithoutCancel(t.Context()), func(tx *sqldb.Tx) error {
					if _, err := tx.Exec(context.WithoutCancel(t.Context()), `LOCK TABLE audit, audit_segment IN ACCESS EXCLUSIVE MODE`); err != nil {
						return err
					}
					close(held)
					<-release
					return nil
				})
			}()
			defer let()
			select {
			case <-held:
			case err := <-done:
				t.Fatal(err)
			}
			var answered, next atomic.Int64
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for next.Add(1) <= calls {
						_, err := s.ECR().PutImage(t.Context(), &ecr.PutImageInput{RepositoryName: aws.String("none"), ImageManifest: &manifest})
						if err != nil && strings.Contains(err.Error(), "RepositoryNotFoundException") {
							answered.Add(1)
						}
					}
				})
			}
			if overflow == "block" {
				wait(t, "the memory to be full", func() bool { return answered.Load() > fit-50 })
			} else {
				wait(t, "all calls, which need no record", func() bool { return answered.Load() == calls })
			}
			if n := answered.Load(); overflow == "block" && n > fit+50 {
				t.Errorf("%d calls were answered without room for their records", n)
			}
			let()
			must(t, "the lock", <-done)
			wg.Wait()
			if n := answered.Load(); n != calls {
				t.Errorf("%d of %d calls were answered", n, calls)
			}
			dropped := metric(t, "http://"+admin+"/metrics", "berth_audit_dropped_total")
			if overflow == "block" && dropped != 0 || overflow == "drop" && dropped < calls-fit-50 {
				t.Errorf("%d records were dropped", dropped)
			}
			found := 0
			wait(t, "the records that were kept", func() bool {
				// Asking the server would be 70 MB of manifests each time. No other calls are so many that they
				// share a segment.
				must(t, "the records", db.View(t.Context(), func(tx *sqldb.Tx) error {
					return tx.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM audit WHERE name = 'PutImage') + (SELECT CAST(coalesce(sum(records), 0) AS BIGINT) FROM audit_segment)`).Scan(&found)
				}))
				return found+dropped >= calls
			})
			if found+dropped != calls {
				t.Errorf("%d records and %d dropped of %d calls", found, dropped, calls)
			}
			t.Logf("%s: %d calls, %d records, %d dropped", overflow, calls, found, dropped)
		})
	}
}

// metric is the value of a counter without labels.
func metric(t *testing.T, url, name string) (value int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, url, err)
	answer, err := http.DefaultClient.Do(r)
	must(t, url, err)
	text, err := io.ReadAll(answer.Body)
	must(t, url, errors.Join(err, answer.Body.Close()))
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			_, err := fmt.Sscan(v, &value)
			must(t, line, err)
			return value
		}
	}
	t.Fatalf("there is no %s in %s", name, text)
	return 0
}
