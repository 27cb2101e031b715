package usage

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/berth-registry/berth/test/contract/harness"
)

// limit bounds every wait: counters are written down each minute, and what the sample of
// five minutes has missed is in the next one.
const limit = 8 * time.Minute

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wait waits until done.
func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("waited %s for %s", limit, what)
		}
	}
}

// cli runs shell scripts in which aws speaks to the server, as berth env says, and refused
// those that have to fail; both return what was printed.
func cli(t *testing.T, s *harness.Server) (run, refused func(t *testing.T, script string) string) {
	t.Helper()
	env := harness.NewBox(t, "bash").Run(s.Binary(), "env", "--data", s.Data) + "\n"
	run = func(t *testing.T, script string) string {
		t.Helper()
		return harness.NewBox(t, "bash", "aws").Script(env + script)
	}
	refused = func(t *testing.T, script string) string {
		t.Helper()
		out, stderr, err := harness.NewBox(t, "bash", "aws").Try("", "bash", "-c", env+script)
		if err == nil {
			t.Errorf("this succeeded: %s\n%s", script, out)
		}
		return stderr
	}
	return run, refused
}

// berth runs a command of the program on the server's data directory.
func berth(t *testing.T, s *harness.Server, command string, args ...string) string {
	t.Helper()
	words := strings.Fields(command)
	out, err := s.Command(t.Context(), append(append(words, "--data", s.Data), args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("berth %s %q: %v\n%s", command, args, err, out)
	}
	return string(out)
}

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return v
}

// caller is somebody in a region.
type caller struct {
	*harness.Server
	region, account string
	config          aws.Config
}

// in is the account of an access key ("" the server's own) in a region.
func in(s *harness.Server, account, region, id, secret string) caller {
	c := s.Config()
	if id != "" {
		c = s.ConfigAs(id, secret, "")
	}
	c.Region = region
	return caller{s, region, account, c}
}

// home is the server's root user in its region.
func home(s *harness.Server) caller { return in(s, s.Account, s.Region, "", "") }

// registry is a client of the caller's registry, for which it gets a token.
func (c caller) registry(t *testing.T) *harness.Registry {
	t.Helper()
	out := must(ecr.NewFromConfig(c.config).GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{}))(t)
	return c.RegistryAt(c.account+".dkr.ecr."+c.region+".localhost", "Basic "+*out.AuthorizationData[0].AuthorizationToken)
}

// pull gets a manifest n times.
func pull(t *testing.T, r *harness.Registry, repo string, n int) {
	t.Helper()
	for range n {
		if _, _, err := r.Manifest(t.Context(), repo, "v1"); err != nil {
			t.Fatal(err)
		}
	}
}

func dimensions(pairs ...string) (all []types.Dimension) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, types.Dimension{Name: &pairs[i], Value: &pairs[i+1]})
	}
	return all
}

func callDimensions(operation string) []types.Dimension {
	return dimensions("Service", "ECR", "Type", "API", "Resource", operation, "Class", "None")
}

// statistics are the datapoints of a metric, of an hour around now by the minute.
func (c caller) statistics(t *testing.T, namespace, metric string, of []types.Dimension, period int32) []types.Datapoint {
	t.Helper()
	now := time.Now()
	out := must(cloudwatch.NewFromConfig(c.config).GetMetricStatistics(t.Context(), &cloudwatch.GetMetricStatisticsInput{
		Namespace: &namespace, MetricName: &metric, Dimensions: of, Period: &period,
		StartTime: aws.Time(now.Add(-55 * time.Minute)), EndTime: aws.Time(now.Add(5 * time.Minute)),
		Statistics: []types.Statistic{types.StatisticSum, types.StatisticMaximum, types.StatisticMinimum, types.StatisticAverage, types.StatisticSampleCount},
	}))(t)
	return out.Datapoints
}

// sum is the sum of a metric in this hour.
func (c caller) sum(t *testing.T, namespace, metric string, of []types.Dimension) (sum int) {
	t.Helper()
	for _, p := range c.statistics(t, namespace, metric, of, 60) {
		sum += int(*p.Sum)
	}
	return sum
}

// calls and pulls are CallCount and RepositoryPullCount.
func (c caller) calls(t *testing.T, operation string) int {
	t.Helper()
	return c.sum(t, "AWS/Usage", "CallCount", callDimensions(operation))
}

func (c caller) pulls(t *testing.T, repo string) int {
	t.Helper()
	return c.sum(t, "AWS/ECR", "RepositoryPullCount", dimensions("RepositoryName", repo))
}

// prometheus is a series out of /metrics, 0 for one that is not there.
func prometheus(t *testing.T, admin, series string) float64 {
	t.Helper()
	answer := must(http.Get("http://" + admin + "/metrics"))(t)
	defer func() { _ = answer.Body.Close() }() // it is read below
	text := must(io.ReadAll(answer.Body))(t)
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindSubmatch(text)
	if m == nil {
		return 0
	}
	return must(strconv.ParseFloat(string(m[1]), 64))(t)
}

// post sends a signed call in JSON, of the protocol version ("1.0", "1.1").
func (c caller) post(t *testing.T, version, signing, target, body string) (status int, text string) {
	t.Helper()
	r := must(http.NewRequestWithContext(t.Context(), http.MethodPost, c.Endpoint+"/", bytes.NewReader([]byte(body))))(t)
	r.Header.Set("Content-Type", "application/x-amz-json-"+version)
	r.Header.Set("X-Amz-Target", target)
	sum := sha256.Sum256([]byte(body))
	key := must(c.config.Credentials.Retrieve(t.Context()))(t)
	if err := v4.NewSigner().SignHTTP(t.Context(), key, r, hex.EncodeToString(sum[:]), signing, c.region, time.Now()); err != nil {
		t.Fatal(err)
	}
	answer := must(c.config.HTTPClient.Do(r))(t)
	defer func() { _ = answer.Body.Close() }() // it is read below
	return answer.StatusCode, string(must(io.ReadAll(answer.Body))(t))
}
