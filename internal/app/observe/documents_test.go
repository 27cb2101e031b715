package observe_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/berth-registry/berth/internal/app/observe"
	"github.com/berth-registry/berth/internal/infra/obs"
)

var update = flag.Bool("update", false, "write the table of metrics in docs/operations.md")

const (
	operationsFile = "../../../docs/operations.md"
	dashboardFile  = "../../../deploy/grafana/berth.json"
	alertsFile     = "../../../deploy/prometheus/alerts.yaml"
)

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestMetricsAreDocumented: the table of docs/operations.md is what the program
// has.
func TestMetricsAreDocumented(t *testing.T) {
	var table strings.Builder
	table.WriteString("<!-- metrics: written by go test ./internal/app/observe -update -->\n| metric | kind | labels | meaning |\n|---|---|---|---|\n")
	for _, m := range newObserver(t, observe.Config{}).Metrics() {
		labels := "" // a cell of its own
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, labels, m.Help)
	}
	table.WriteString("<!-- end -->\n")
	text := string(read(t, operationsFile))
	from, to := strings.Index(text, "<!-- metrics:"), strings.Index(text, "<!-- end -->\n")
	if from < 0 || to < from {
		t.Fatal("docs/operations.md has lost the marks of its table")
	}
	to += len("<!-- end -->\n")
	if *update {
		if err := os.WriteFile(operationsFile, []byte(text[:from]+table.String()+text[to:]), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text[from:to] != table.String() {
		t.Errorf("the table of metrics in docs/operations.md is not what the program has: go test ./internal/app/observe -update\nwant\n%s", table.String())
	}
}

// TestNames holds metrics to Prometheus's rules for names.
func TestNames(t *testing.T) {
	for _, m := range newObserver(t, observe.Config{}).Metrics() {
		wellFormed := regexp.MustCompile(`^berth(_[a-z][a-z0-9]*)+$`).MatchString(m.Name)
		total := strings.HasSuffix(m.Name, "_total")
		// AWS's own name is kept.
		ok := m.Name == "berth_usage_call_count" || total == (m.Kind == obs.Counter)
		if !wellFormed || !ok || m.Kind == obs.Histogram && !strings.HasSuffix(m.Name, "_seconds") || !strings.HasSuffix(m.Help, ".") || strings.Contains(m.Help, "|") {
			t.Errorf("%+v", m)
		}
		for _, forbidden := range []string{"repository", "account", "principal", "le", "instance", "job"} {
			if slices.Contains(m.Labels, forbidden) {
				t.Errorf("%s has the label %s", m.Name, forbidden)
			}
		}
	}
}

// used finds the metrics in an expression.
var used = regexp.MustCompile(`\b(berth|process|go)_[a-z0-9_]+`)

// checkExpression holds an expression against the metrics that there are, and its
// labels against theirs.
func checkExpression(t *testing.T, where, expression, page string, metrics map[string]obs.Metric) {
	t.Helper()
	if strings.Count(expression, "(") != strings.Count(expression, ")") || strings.Count(expression, "{") != strings.Count(expression, "}") || expression == "" {
		t.Errorf("%s: %q is not balanced", where, expression)
	}
	found := used.FindAllString(expression, -1)
	if len(found) == 0 {
		t.Errorf("%s: %q asks for no metric", where, expression)
	}
	for _, metric := range found {
		m, ok := metrics[metric]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, cut := strings.CutSuffix(metric, suffix); cut && metrics[base].Kind == obs.Histogram {
				m, ok = metrics[base], true
			}
		}
		if !ok && !strings.HasPrefix(metric, "berth_") && strings.Contains(page, "\n"+metric) {
			continue // of the process or the runtime
		}
		if !ok {
			t.Errorf("%s: there is no metric %s", where, metric)
			continue
		}
		for _, selector := range regexp.MustCompile(regexp.QuoteMeta(metric)+`\{([^}]*)\}`).FindAllStringSubmatch(expression, -1) {
			for _, label := range regexp.MustCompile(`([a-z_]+)[=!]`).FindAllStringSubmatch(selector[1], -1) {
				if label[1] != "instance" && !slices.Contains(m.Labels, label[1]) {
					t.Errorf("%s: %s has no label %s", where, metric, label[1])
				}
			}
		}
	}
}

// exported are the metrics that there are, and a page of them.
func exported(t *testing.T) (map[string]obs.Metric, string) {
	t.Helper()
	o := newObserver(t, observe.Config{})
	all := map[string]obs.Metric{}
	for _, m := range o.Metrics() {
		all[m.Name] = m
	}
	return all, metrics(t, o)
}

func TestAlerts(t *testing.T) {
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert       string
				Expr        string
				For         string
				Labels      struct{ Severity string }
				Annotations struct{ Summary string }
			}
		}
	}
	if err := yaml.Unmarshal(read(t, alertsFile), &file); err != nil {
		t.Fatal(err)
	}
	all, page := exported(t)
	document := string(read(t, operationsFile))
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) < 10 {
		t.Fatalf("there are %d groups of alerts", len(file.Groups))
	}
	explained := regexp.MustCompile(`(?m)^\| (Berth[A-Za-z]+) \|`).FindAllStringSubmatch(document, -1)
	if len(explained) != len(file.Groups[0].Rules) {
		t.Errorf("docs/operations.md explains %d alerts, there are %d", len(explained), len(file.Groups[0].Rules))
	}
	for _, r := range file.Groups[0].Rules {
		checkExpression(t, r.Alert, r.Expr, page, all)
		if r.Annotations.Summary == "" || r.Labels.Severity != "critical" && r.Labels.Severity != "warning" {
			t.Errorf("%s says too little: %+v", r.Alert, r)
		}
		if !strings.Contains(document, "\n| "+r.Alert+" |") {
			t.Errorf("docs/operations.md does not explain %s", r.Alert)
		}
	}
}

func TestDashboard(t *testing.T) {
	type target struct{ Expr, LegendFormat string }
	var file struct {
		Title      string
		Templating struct {
			List []struct{ Name, Definition string }
		}
		Panels []struct {
			ID          int
			Type, Title string
			GridPos     struct{ X, Y, W, H int }
			Targets     []target
		}
	}
	if err := json.Unmarshal(read(t, dashboardFile), &file); err != nil {
		t.Fatal(err)
	}
	all, page := exported(t)
	shown := map[string]bool{}
	ids := map[int]bool{}
	for _, p := range file.Panels {
		if ids[p.ID] || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("the panel %d %q has no title, an id twice, or no place", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %q is empty", p.Title)
		}
		for _, q := range p.Targets {
			checkExpression(t, p.Title, q.Expr, page, all)
			for _, metric := range used.FindAllString(q.Expr, -1) {
				shown[strings.TrimSuffix(metric, "_bucket")] = true
			}
		}
	}
	// What is told by no panel is said here, so that a new metric is thought of.
	for named := range all {
		if !shown[named] && !slices.Contains([]string{"berth_download_requests_total", "berth_other_requests_total", "berth_registry_request_duration_seconds", "berth_scrape_errors_total"}, named) {
			t.Errorf("no panel shows %s", named)
		}
	}
	if len(file.Templating.List) != 2 || file.Templating.List[1].Name != "instance" {
		t.Error("the dashboard has lost its variables")
	}
}
