package usage

import (
	"encoding/csv"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/test/contract/harness"
)

const (
	abroad = "eu-west-1"
	second = "222222222222"
	// putRate is the account's rate of PutImage.
	putRate = 40
	// Pulls by the clients, and pushes of the account in its region, docker's too.
	appPulls, dockerPulls, farPulls, theirPulls = 6, 1, 4, 5
	pushes                                      = 5
)

// operations are those that AWS counts.
func operations() []string {
	return []string{
		"GetAuthorizationToken", "BatchCheckLayerAvailability", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage", "BatchGetImage", "GetDownloadUrlForLayer",
	}
}

// world is a server that two accounts work with, in two regions, and that has written
// down what they did.
type world struct {
	*harness.Server
	admin              string
	home, away, theirs caller
	run, refused       func(t *testing.T, script string) string
}

// TestUsage does everything that counts, waits once until it is written down, kills the
// server, and then asks in every way there is.
func TestUsage(t *testing.T) {
	t.Parallel()
	w := &world{admin: harness.FreeAddress(t)}
	w.Server = harness.Start(t, harness.Options{Config: "regions: [us-east-1, " + abroad + "]\nadmin_listen: " + w.admin + "\nusage: {repositories: 2}\n"})
	id, secret := w.CreateAccount(t, second)
	w.home, w.away, w.theirs = home(w.Server), in(w.Server, w.Account, abroad, "", ""), in(w.Server, second, w.Region, id, secret)
	w.run, w.refused = cli(t, w.Server)
	berth(t, w.Server, "quota set", "rate:PutImage", fmt.Sprint(putRate))

	w.store(t)
	w.docker(t)
	wait(t, "CloudWatch to have all that Prometheus has", func() bool {
		for _, operation := range operations() {
			if counted, written := w.counted(t, operation); counted == 0 || written != counted {
				return false
			}
		}
		return true
	})
	wait(t, "repositories and images to be counted", func() bool {
		return w.home.most(t, repositoryCount()) == 4 && w.home.most(t, imageCount("team/app")) == 2 && w.away.most(t, repositoryCount()) == 1
	})
	t.Run("Prometheus", func(t *testing.T) { prometheusAgrees(t, w) })
	// What a minute has written down SIGKILL does not take.
	w.Kill()
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, check := range map[string]func(*testing.T, *world){
		"CLI": throughCLI, "Expression": expression, "ExpressionCLI": expressionCLI, "Protocols": protocols,
		"ResourceCount": resourceCount, "Accounts": accounts, "Report": report, "Permissions": permissions,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, w)
		})
	}
}

// counted is how often an operation was called, as Prometheus has it, and what CloudWatch
// shows of it, in all accounts and regions.
func (w *world) counted(t *testing.T, operation string) (counted, written int) {
	t.Helper()
	for _, c := range []caller{w.home, w.away, w.theirs} {
		written += c.calls(t, operation)
	}
	return int(prometheus(t, w.admin, `berth_usage_call_count{class="None",resource="`+operation+`",service="ECR",type="API"}`)), written
}

// store makes the repositories, and pushes and pulls with a client of registries.
func (w *world) store(t *testing.T) {
	t.Helper()
	create := func(c caller, repo, team string) {
		t.Helper()
		in := &ecr.CreateRepositoryInput{RepositoryName: &repo}
		if team != "" {
			in.Tags = []ecrtypes.Tag{{Key: aws.String("team"), Value: &team}}
		}
		must(ecr.NewFromConfig(c.config).CreateRepository(t.Context(), in))(t)
	}
	create(w.home, "team/app", "red")
	create(w.home, "team/docker", "red")
	create(w.home, "team/other", "blue")
	create(w.home, "plain", "")
	create(w.away, "far", "blue")
	create(w.theirs, "theirs", "")

	// What is stored is sampled a minute after the start, so this comes first.
	r := w.home.registry(t)
	app := r.PushImage(t, "team/app", "v1", 1, 100_000)
	r.PushImage(t, "team/app", "v2", 2, 50_000)
	r.PushImage(t, "team/other", "v1", 3, 30_000)
	r.PushImage(t, "plain", "v1", 1, 100_000) // the layer of team/app's
	far := w.away.registry(t)
	far.PushImage(t, "far", "v1", 4, 20_000)
	theirs := w.theirs.registry(t)
	theirs.PushImage(t, "theirs", "v1", 5, 10_000)

	pull(t, far, "far", farPulls)
	pull(t, theirs, "theirs", theirPulls)
	pull(t, r, "team/app", appPulls-1)
	// One by the API; a HEAD, and one that is refused, are no pulls.
	must(ecr.NewFromConfig(w.home.config).BatchGetImage(t.Context(), &ecr.BatchGetImageInput{
		RepositoryName: aws.String("team/app"), ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: &app.Digest}},
	}))(t)
	must(r.Do(t.Context(), harness.Request{Method: http.MethodHead, Path: "/v2/team/app/manifests/v1", Accept: harness.EveryManifest()}, http.StatusOK))(t)
	must(r.Do(t.Context(), harness.Request{Method: http.MethodGet, Path: "/v2/team/app/manifests/none", Accept: harness.EveryManifest()}, http.StatusNotFound))(t)
}

// docker pushes and pulls as a user does.
func (w *world) docker(t *testing.T) {
	t.Helper()
	b := harness.NewBox(t, "bash", "aws", "docker", "dockerd")
	harness.StartDocker(t, b)
	b.Script(fmt.Sprintf("eval \"$(%s env --data %s)\"\naws ecr get-login-password | docker login --username AWS --password-stdin %s", w.Binary(), w.Data, w.Host))
	b.Write("ctx/Dockerfile", []byte("FROM scratch\nCOPY one /one\n"))
	b.Write("ctx/one", harness.Random(9, 300_000))
	image := w.Host + "/team/docker:v1"
	b.Run("docker", "build", "-t", image, "ctx")
	b.Run("docker", "push", image)
	// Once: docker keeps manifests for a while, and asks for one that it has with HEAD only.
	b.Run("docker", "rmi", image)
	b.Run("docker", "pull", image)
}

// most is the greatest number of repositories or images in five minutes.
func (c caller) most(t *testing.T, of []types.Dimension) float64 {
	t.Helper()
	top := 0.0
	for _, p := range c.statistics(t, "AWS/Usage", "ResourceCount", of, 300) {
		top = math.Max(top, *p.Maximum)
	}
	return top
}

func imageCount(repo string) []types.Dimension {
	return dimensions("Service", "ECR", "Type", "RESOURCE", "Resource", "ImagesPerRepositoryCount", "ResourceId", "repository/"+repo)
}

func repositoryCount() []types.Dimension {
	return dimensions("Service", "ECR", "Type", "RESOURCE", "Resource", "RepositoryCount", "Class", "None")
}

// hour is the options of the CLI for an hour around now.
func hour() string {
	now := time.Now().UTC()
	return " --start-time " + now.Add(-55*time.Minute).Format(time.RFC3339) + " --end-time " + now.Add(5*time.Minute).Format(time.RFC3339) + " --output json"
}

// throughCLI: list-metrics, get-metric-statistics and get-metric-data of the AWS CLI.
func throughCLI(t *testing.T, w *world) {
	type metrics struct {
		Metrics []struct {
			Namespace, MetricName string
			Dimensions            []struct{ Name, Value string }
		}
	}
	repositories := func(m metrics) (all []string) {
		for _, one := range m.Metrics {
			if one.Namespace != "AWS/ECR" || one.MetricName != "RepositoryPullCount" || len(one.Dimensions) != 1 || one.Dimensions[0].Name != "RepositoryName" {
				t.Errorf("list-metrics lists %+v", one)
				continue
			}
			all = append(all, one.Dimensions[0].Value)
		}
		return all
	}
	if got := repositories(decode[metrics](t, w.run(t, `aws cloudwatch list-metrics --namespace AWS/ECR --output json`))); !slices.Equal(got, []string{"team/app", "team/docker"}) {
		t.Errorf("list-metrics: pulls of %q", got)
	}
	if got := repositories(decode[metrics](t, w.run(t, `aws cloudwatch list-metrics --region `+abroad+` --namespace AWS/ECR --output json`))); !slices.Equal(got, []string{"far"}) {
		t.Errorf("list-metrics in %s: pulls of %q", abroad, got)
	}
	called := w.run(t, `aws cloudwatch list-metrics --namespace AWS/Usage --metric-name CallCount --dimensions Name=Service,Value=ECR Name=Type --recently-active PT3H --query 'Metrics[].Dimensions[?Name==`+"`Resource`"+`].Value[]' --output text`)
	for _, operation := range operations() {
		if !slices.Contains(strings.Fields(called), operation) {
			t.Errorf("list-metrics lists no calls of %s: %s", operation, called)
		}
	}

	// The command of docs/usage.md.
	type statistics struct {
		Label      string
		Datapoints []struct {
			Timestamp, Unit string
			Sum             float64
		}
	}
	s := decode[statistics](t, w.run(t, `aws cloudwatch get-metric-statistics --namespace AWS/Usage --metric-name CallCount --statistics Sum --period 60 `+
		`--dimensions Name=Service,Value=ECR Name=Type,Value=API Name=Resource,Value=PutImage Name=Class,Value=None`+hour()))
	sum := 0.0
	for _, p := range s.Datapoints {
		sum += p.Sum
		if at := must(time.Parse(time.RFC3339, p.Timestamp))(t); p.Unit != "None" || at.Second() != 0 {
			t.Errorf("a datapoint: %+v", p)
		}
	}
	if s.Label != "CallCount" || sum != pushes {
		t.Errorf("get-metric-statistics: %+v; want a sum of %d", s, pushes)
	}
	s = decode[statistics](t, w.run(t, `aws cloudwatch get-metric-statistics --namespace AWS/ECR --metric-name RepositoryPullCount --statistics Sum --period 3600 `+
		`--dimensions Name=RepositoryName,Value=team/docker`+hour()))
	if len(s.Datapoints) != 1 || s.Datapoints[0].Sum != dockerPulls || s.Datapoints[0].Unit != "Count" {
		t.Errorf("after %d pulls of docker get-metric-statistics has %+v", dockerPulls, s)
	}
	// In Query the exceptions have their older names.
	if got := w.refused(t, `aws cloudwatch get-metric-statistics --namespace AWS/ECR --metric-name RepositoryPullCount --statistics Sum --period 61`+hour()); !strings.Contains(got, "(InvalidParameterValue) when calling the GetMetricStatistics operation: The parameter Period must be a multiple of 60") {
		t.Errorf("a period of 61 seconds: %s", got)
	}
}

// expression: the guide's m1/60/SERVICE_QUOTA(m1)*100, "Visualizing your service quotas and
// setting alarms", by the SDK.
func expression(t *testing.T, w *world) {
	now := time.Now()
	out := must(cloudwatch.NewFromConfig(w.home.config).GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{
		StartTime: aws.Time(now.Add(-55 * time.Minute)), EndTime: aws.Time(now.Add(5 * time.Minute)),
		MetricDataQueries: []types.MetricDataQuery{
			{Id: aws.String("m1"), MetricStat: &types.MetricStat{Period: aws.Int32(60), Stat: aws.String("Sum"), Metric: &types.Metric{
				Namespace: aws.String("AWS/Usage"), MetricName: aws.String("CallCount"), Dimensions: callDimensions("PutImage"),
			}}},
			{Id: aws.String("quota"), Expression: aws.String("SERVICE_QUOTA(m1)")},
			{Id: aws.String("percent"), Expression: aws.String("m1/60/SERVICE_QUOTA(m1)*100"), Label: aws.String("in use")},
		},
	}))(t)
	if len(out.MetricDataResults) != 3 {
		t.Fatalf("got %+v", out.MetricDataResults)
	}
	m1, quota, percent := out.MetricDataResults[0], out.MetricDataResults[1], out.MetricDataResults[2]
	if len(m1.Values) == 0 || len(percent.Values) != len(m1.Values) || *percent.Label != "in use" || percent.StatusCode != types.StatusCodeComplete {
		t.Fatalf("m1: %+v, percent: %+v", m1, percent)
	}
	for i, v := range percent.Values {
		if want := m1.Values[i] / 60 / putRate * 100; math.Abs(v-want) > 1e-9 || !percent.Timestamps[i].Equal(m1.Timestamps[i]) {
			t.Errorf("%s: %v percent, want %v", m1.Timestamps[i], v, want)
		}
	}
	if len(quota.Values) == 0 || quota.Values[0] != putRate {
		t.Errorf("SERVICE_QUOTA(m1) is %v, want %d", quota.Values, putRate)
	}
}

// expressionCLI: the same by the CLI.
func expressionCLI(t *testing.T, w *world) {
	const queries = `[{"Id":"m1","ReturnData":false,"MetricStat":{"Period":60,"Stat":"Sum","Metric":{"Namespace":"AWS/Usage","MetricName":"CallCount","Dimensions":[
		{"Name":"Service","Value":"ECR"},{"Name":"Type","Value":"API"},{"Name":"Resource","Value":"PutImage"},{"Name":"Class","Value":"None"}]}}},
		{"Id":"e1","Expression":"m1/60/SERVICE_QUOTA(m1)*100"}]`
	out := decode[struct {
		MetricDataResults []struct {
			ID, Label, StatusCode string
			Timestamps            []string
			Values                []float64
		}
	}](t, w.run(t, `aws cloudwatch get-metric-data --metric-data-queries '`+queries+`'`+hour()))
	if len(out.MetricDataResults) != 1 {
		t.Fatalf("got %+v", out)
	}
	sum, r := 0.0, out.MetricDataResults[0]
	for _, v := range r.Values {
		sum += v
	}
	if want := pushes / 60.0 / putRate * 100; r.ID != "e1" || r.StatusCode != "Complete" || math.Abs(sum-want) > 1e-9 {
		t.Errorf("got %+v, want a sum of %v", r, want)
	}
}

// spy notes the protocol that answers are in.
type spy struct {
	next cloudwatch.HTTPClient
	mu   sync.Mutex
	seen []string
}

// Do sends a request.
func (s *spy) Do(r *http.Request) (*http.Response, error) {
	answer, err := s.next.Do(r)
	if err == nil {
		s.mu.Lock()
		s.seen = append(s.seen, answer.Header.Get("Smithy-Protocol")+" "+answer.Header.Get("Content-Type"))
		s.mu.Unlock()
	}
	return answer, err
}

// protocols: the SDK speaks CBOR, Debian's CLI the Query protocol, and JSON 1.0 is
// answered too; all say the same.
func protocols(t *testing.T, w *world) {
	wires := &spy{next: w.home.config.HTTPClient}
	c := w.home
	c.config.HTTPClient = wires
	if got := c.pulls(t, "team/app"); got != appPulls {
		t.Errorf("by the SDK: %d pulls, want %d", got, appPulls)
	}
	if !slices.Equal(wires.seen, []string{"rpc-v2-cbor application/cbor"}) {
		t.Errorf("the SDK was answered in %q", wires.seen)
	}

	now := time.Now().Unix()
	status, text := w.home.post(t, "1.0", "monitoring", "GraniteServiceVersion20100801.GetMetricStatistics", fmt.Sprintf(
		`{"Namespace":"AWS/ECR","MetricName":"RepositoryPullCount","Dimensions":[{"Name":"RepositoryName","Value":"team/app"}],"StartTime":%d,"EndTime":%d,"Period":3600,"Statistics":["Sum"]}`, now-3300, now+300))
	out := decode[struct {
		Label      string
		Datapoints []struct{ Timestamp, Sum float64 }
	}](t, text)
	if status != http.StatusOK || out.Label != "RepositoryPullCount" || len(out.Datapoints) != 1 || out.Datapoints[0].Sum != appPulls {
		t.Errorf("in JSON 1.0: %d %s", status, text)
	}

	_, log, err := harness.NewBox(t, "bash", "aws").Try("", "bash", "-c", harness.NewBox(t, "bash").Run(w.Binary(), "env", "--data", w.Data)+"\naws cloudwatch list-metrics --namespace AWS/ECR --debug")
	if err != nil || !strings.Contains(log, "'Action': 'ListMetrics'") || !strings.Contains(log, "<ListMetricsResponse") {
		t.Errorf("the CLI speaks another protocol than Query: %v", err)
	}
}

// prometheusAgrees: the counters of /metrics are CloudWatch's, over all accounts and regions.
func prometheusAgrees(t *testing.T, w *world) {
	for _, operation := range operations() {
		if counted, written := w.counted(t, operation); counted != written {
			t.Errorf("%s: %d in Prometheus, %d in CloudWatch", operation, counted, written)
		}
	}
	// usage.repositories is 2: those with the most.
	pulled := func(account, region, repo string) float64 {
		return prometheus(t, w.admin, `berth_usage_repository_pulls_total{account="`+account+`",region="`+region+`",repository="`+repo+`"}`)
	}
	for _, p := range []struct {
		account, region, repo string
		want                  float64
	}{
		{w.Account, w.Region, "team/app", appPulls}, {second, w.Region, "theirs", theirPulls}, {w.Account, abroad, "far", 0}, {w.Account, w.Region, "team/docker", 0},
	} {
		if got := pulled(p.account, p.region, p.repo); got != p.want {
			t.Errorf("pulls of %s in Prometheus: %v, want %v", p.repo, got, p.want)
		}
	}
}

// resourceCount: repositories and images, the greatest number in five minutes.
func resourceCount(t *testing.T, w *world) {
	for _, n := range []struct {
		what string
		got  float64
		want float64
	}{
		{"repositories", w.home.most(t, repositoryCount()), 4},
		{"repositories abroad", w.away.most(t, repositoryCount()), 1},
		{"repositories of the other account", w.theirs.most(t, repositoryCount()), 1},
		{"images of team/app", w.home.most(t, imageCount("team/app")), 2},
		{"images of plain", w.home.most(t, imageCount("plain")), 1},
		{"images of another account's repository", w.home.most(t, imageCount("theirs")), 0},
	} {
		if n.got != n.want {
			t.Errorf("%s: %v, want %v", n.what, n.got, n.want)
		}
	}
}

// accounts: everybody sees his own in each region, and what is exact is exact.
func accounts(t *testing.T, w *world) {
	for _, n := range []struct {
		what      string
		got, want int
	}{
		{"PutImage", w.home.calls(t, "PutImage"), pushes},
		{"PutImage abroad", w.away.calls(t, "PutImage"), 1},
		{"PutImage of the other account", w.theirs.calls(t, "PutImage"), 1},
		{"GetAuthorizationToken", w.home.calls(t, "GetAuthorizationToken"), 2}, // the registry client's and docker's
		{"GetAuthorizationToken abroad", w.away.calls(t, "GetAuthorizationToken"), 1},
		{"BatchGetImage abroad: what was pulled", w.away.calls(t, "BatchGetImage"), farPulls},
		{"pulls of far", w.away.pulls(t, "far"), farPulls},
		{"pulls of far, seen from home", w.home.pulls(t, "far"), 0},
		{"pulls of theirs", w.theirs.pulls(t, "theirs"), theirPulls},
		{"pulls of theirs, seen from home", w.home.pulls(t, "theirs"), 0},
		{"pulls of plain", w.home.pulls(t, "plain"), 0},
	} {
		if n.got != n.want {
			t.Errorf("%s: %d, want %d", n.what, n.got, n.want)
		}
	}
}

// report: berth usage by everything that it groups by, in its three formats.
func report(t *testing.T, w *world) {
	type group struct{ pulls, pushes, stored int64 }
	check := func(what string, rows []row, of func(row) string, want map[string]group) {
		t.Helper()
		got := map[string]row{}
		for _, r := range rows {
			got[of(r)] = r
		}
		if len(got) != len(rows) || len(got) != len(want) {
			t.Errorf("%s: %+v", what, rows)
		}
		for key, g := range want {
			r, ok := got[key]
			if !ok || r.Pulls != g.pulls || r.Pushes != g.pushes {
				t.Errorf("%s %q: %+v, want %+v", what, key, r, g)
			}
			if g.stored > 0 && (r.Samples < 1 || int64(r.StoredBytes) < g.stored || int64(r.StoredBytes) > g.stored+stray) {
				t.Errorf("%s %q: %+v, want about %d bytes stored", what, key, r, g.stored)
			}
		}
	}
	const all = pushes // of the account at home
	check("account", reportOf(t, w.Server, "account"), func(r row) string { return r.Account }, map[string]group{
		w.Account: {appPulls + dockerPulls + farPulls, all + 1, 0}, second: {theirPulls, 1, 10_000},
	})
	check("region", reportOf(t, w.Server, "region"), func(r row) string { return r.Region }, map[string]group{
		w.Region: {appPulls + dockerPulls + theirPulls, all + 1, 0}, abroad: {farPulls, 1, 20_000},
	})
	check("repository", reportOf(t, w.Server, "repository"), func(r row) string { return r.Account + "/" + r.Region + "/" + r.Repository }, map[string]group{
		w.Account + "/" + w.Region + "/team/app":    {appPulls, 2, 150_000},
		w.Account + "/" + w.Region + "/team/docker": {dockerPulls, 1, 0},
		w.Account + "/" + w.Region + "/team/other":  {0, 1, 30_000},
		w.Account + "/" + w.Region + "/plain":       {0, 1, 100_000},
		w.Account + "/" + abroad + "/far":           {farPulls, 1, 20_000},
		second + "/" + w.Region + "/theirs":         {theirPulls, 1, 10_000},
	})
	check("tag", reportOf(t, w.Server, "tag:team"), func(r row) string { return fmt.Sprint(r.Tag, r.Untagged) }, map[string]group{
		"redfalse": {appPulls + dockerPulls, 3, 0}, "bluefalse": {farPulls, 2, 50_000}, "true": {theirPulls, 2, 110_000},
	})
	check("one account", reportOf(t, w.Server, "account", "--account", second), func(r row) string { return r.Account }, map[string]group{second: {theirPulls, 1, 10_000}})
	byDay := int64(0)
	for _, r := range reportOf(t, w.Server, "account", "--by-day", "--account", second) {
		if day := must(time.Parse(time.DateOnly, r.Period))(t); time.Since(day) > 48*time.Hour || r.Account != second {
			t.Errorf("by day: %+v", r)
		}
		byDay += r.Pulls
	}
	if byDay != theirPulls {
		t.Errorf("by day there are %d pulls, want %d", byDay, theirPulls)
	}

	// The layer that two repositories hold counts once in their registry, and bytes that
	// moved are there.
	for _, r := range reportOf(t, w.Server, "region", "--account", w.Account) {
		if r.Region == w.Region && (r.StoredBytes < 180_000 || r.StoredBytes > 180_000+300_000+4*stray) {
			t.Errorf("by region %v bytes are stored: the layer of two repositories counts twice", r.StoredBytes)
		}
	}
	for _, r := range reportOf(t, w.Server, "repository") {
		if r.Repository == "team/docker" && (r.ReceivedBytes < 300_000 || r.SentBytes < 300_000) {
			t.Errorf("docker has pushed and pulled 300,000 bytes, and moved is %+v", r)
		}
	}

	yesterday := time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	records := must(csv.NewReader(strings.NewReader(berth(t, w.Server, "usage", "--from", yesterday, "--group-by", "tag:team", "--format", "csv"))).ReadAll())(t)
	if len(records) != 4 || !slices.Equal(records[0], []string{
		"period", "account", "region", "repository", "tag", "stored_bytes", "byte_hours", "archived_bytes", "archived_byte_hours", "samples", "sent_bytes", "received_bytes", "pulls", "pushes",
	}) {
		t.Errorf("as CSV:\n%q", records)
	}
	for _, record := range records[1:] {
		if record[4] == "red" && record[12] != fmt.Sprint(appPulls+dockerPulls) {
			t.Errorf("as CSV: %q", record)
		}
	}
	table := berth(t, w.Server, "usage", "--from", yesterday, "--group-by", "tag:team", "--format", "table")
	for _, text := range []string{"From ", "TAG team", "STORED", "PULLS", "\nred ", "\nblue ", "\n(no such tag) "} {
		if !strings.Contains(table, text) {
			t.Errorf("the table lacks %q:\n%s", text, table)
		}
	}
	if out, err := w.Command(t.Context(), "usage", "--data", w.Data, "--group-by", "colour").CombinedOutput(); err == nil || !strings.Contains(string(out), "tag:") {
		t.Errorf("another group: %v\n%s", err, out)
	}
}

// stray is what an image holds besides its layer, and a tar's frame, at most.
const stray = 4_000

// permissions: who may see metrics is for policies to say.
func permissions(t *testing.T, w *world) {
	w.run(t, `aws iam create-user --user-name watcher >/dev/null
		aws iam put-user-policy --user-name watcher --policy-name watch --policy-document '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"cloudwatch:ListMetrics","Resource":"*"}]}'`)
	key := strings.Fields(w.run(t, `aws iam create-access-key --user-name watcher --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text`))
	if len(key) != 2 {
		t.Fatalf("create-access-key printed %q", key)
	}
	watcher := cloudwatch.NewFromConfig(in(w.Server, w.Account, w.Region, key[0], key[1]).config)
	ctx := t.Context()
	if out := must(watcher.ListMetrics(ctx, &cloudwatch.ListMetricsInput{Namespace: aws.String("AWS/ECR")}))(t); len(out.Metrics) != 2 {
		t.Errorf("who may list metrics sees %d", len(out.Metrics))
	}
	_, err := watcher.GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String("AWS/ECR"), MetricName: aws.String("RepositoryPullCount"), Period: aws.Int32(60), StartTime: aws.Time(time.Now().Add(-time.Hour)), EndTime: aws.Time(time.Now()),
		Statistics: []types.Statistic{types.StatisticSum},
	})
	if err == nil || !strings.Contains(err.Error(), "AccessDenied") || !strings.Contains(err.Error(), "is not authorized to perform: cloudwatch:GetMetricStatistics") {
		t.Errorf("who may list metrics only got %v", err)
	}
}
