package aws_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
)

type unchecked struct{}

func TestNewRefuses(t *testing.T) {
	row := func(s *aws.Service) *aws.Operation { return &s.Operations[0] }
	for _, tt := range []struct {
		name  string
		spoil func(*aws.Config)
		want  string
	}{
		{"no authenticator", func(c *aws.Config) { c.Authenticator = nil }, "needs an Authenticator"},
		{"no authorizer", func(c *aws.Config) { c.Authorizer = nil }, "needs an Authenticator, an Authorizer"},
		{"no audit", func(c *aws.Config) { c.Audit = nil }, "an Audit"},
		{"no clock", func(c *aws.Config) { c.Clock = nil }, "a Clock"},
		{"no log", func(c *aws.Config) { c.Log = nil }, "a Log"},
		{"no service", func(c *aws.Config) { c.Services = nil }, "needs a service"},
		{"a row without Needs", func(c *aws.Config) { row(&c.Services[0]).Needs = nil }, `service "dock": operation "DockShip": has no Needs`},
		{"a row made without Needs", func(c *aws.Config) {
			*row(&c.Services[0]) = aws.Op("DockShip", true, nil, func(context.Context, *aws.Call, *dockInput) (*dockOutput, error) { return nil, nil })
		}, `has no Needs`},
		{"a row made without Do", func(c *aws.Config) {
			*row(&c.Services[0]) = aws.Op[dockInput, dockOutput]("DockShip", true, func(*aws.Call, *dockInput) ([]authz.Need, error) { return nil, nil }, nil)
		}, `has no Do`},
		{"a row without New", func(c *aws.Config) { row(&c.Services[0]).New = nil }, `has no New`},
		{"an input without limits", func(c *aws.Config) { row(&c.Services[0]).New = func() any { return new(unchecked) } }, `without Validate`},
		{"a row twice", func(c *aws.Config) { c.Services[0].Operations = append(c.Services[0].Operations, *row(&c.Services[0])) }, `"DockShip": stands in the table twice`},
		{"an open row with Needs", func(c *aws.Config) { c.Services[0].Open = []aws.Operation{*row(&c.Services[0])} }, `open operation "DockShip": has Needs`},
		{"an open row that is also another one", func(c *aws.Config) {
			c.Services[0].Open = []aws.Operation{aws.OpenOp("DockShip", true, func(context.Context, *aws.Call, *dockInput) (*dockOutput, error) { return nil, nil })}
		}, `open operation "DockShip": stands in the table twice`},
		{"a row that the model does not know", func(c *aws.Config) { row(&c.Services[0]).Name = "DockShips" }, `"DockShips": no such operation`},
		{"a note on what is not built", func(c *aws.Config) { c.Services[0].Notes = map[string]string{"X": "y"} }, `the note on "X"`},
		{"a limit that the model does not know", func(c *aws.Config) { c.Services[0].BodyLimits = map[string]int64{"X": 1} }, `body limit of "X"`},
		{"a service twice", func(c *aws.Config) { c.Services = append(c.Services, c.Services[0]) }, "two services have the name dock"},
		{"a target twice", func(c *aws.Config) { c.Services = append(c.Services, rename(c.Services[0], "a", "b")) }, "two services have the target Fake_V1"},
		{"a signing name twice", func(c *aws.Config) { c.Services = append(c.Services, rename(c.Services[1], "a", "dock-fips")) }, "two services have the signing name dock-fips"},
		{"no name", func(c *aws.Config) { c.Services[0].Name = "" }, "needs a Name"},
		{"no event source", func(c *aws.Config) { c.Services[0].EventSource = "" }, "an EventSource"},
		{"no protocol", func(c *aws.Config) { c.Services[0].Protocol = nil }, "a Protocol"},
		{"no signing name", func(c *aws.Config) { c.Services[0].SigningNames = nil }, "SigningNames"},
		{"no errors", func(c *aws.Config) { c.Services[0].Errors = nil }, "Errors"},
		{"neither target nor version", func(c *aws.Config) { c.Services[0].TargetPrefix = "" }, "needs a TargetPrefix"},
		{"target and version", func(c *aws.Config) { c.Services[0].Version = "1" }, "not both"},
		{"a code without an error", func(c *aws.Config) {
			c.Services[0].Errors = func(code errs.Code) (string, int) {
				if code == errs.Throttled {
					return "", 0
				}
				return "X", 400
			}
		}, "no row for code"},
		{"a status that the model contradicts", func(c *aws.Config) {
			c.Services[0].Errors = func(errs.Code) (string, int) { return "ServerException", 503 }
		}, "gives ServerException the status 503, the service model 500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := newHarness(t).config()
			tt.spoil(&cfg)
			if _, err := aws.New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := aws.New(newHarness(t).config()); err != nil {
		t.Error(err)
	}
}

func rename(s aws.Service, serviceName, signing string) aws.Service {
	s.Name, s.SigningNames = serviceName, []string{signing}
	return s
}

func TestErrorTable(t *testing.T) {
	table := aws.ErrorTable{errs.Internal: {Name: "ServerException", Status: 500}, errs.ImageNotFound: {Name: "ImageNotFoundException", Status: 400}}
	if name, status := table.Named(errs.ImageNotFound); name != "ImageNotFoundException" || status != 400 {
		t.Errorf("got %s %d", name, status)
	}
	if name, status := table.Named(errs.TagExists); name != "ServerException" || status != 500 {
		t.Errorf("a code without a row is %s %d", name, status)
	}
}

func TestCompatibility(t *testing.T) {
	const want = `# Compatibility

Printed from the tables of operations; do not edit. An operation that is missing is answered as AWS
answers an operation that does not exist.

## dock

2 of 3 operations are built.

| operation | state |
|---|---|
| DockShip | built; with a note |
| ListShips | built |
| SinkShip | missing |

## who

1 of 2 operations are built.

| operation | state |
|---|---|
| AssumeRole | missing |
| GetCallerIdentity | built |
`
	if got := string(aws.Compatibility(newHarness(t).services())); got != want {
		t.Errorf("got\n%s", got)
	}
}

// An open operation needs no signature and asks for no permission; its record
// names who the operation says was calling.
func TestOpenOperations(t *testing.T) {
	h := newHarness(t)
	cfg := h.config()
	cfg.Services[0].Open = []aws.Operation{aws.OpenOp("SinkShip", true, func(_ context.Context, c *aws.Call, in *dockInput) (*dockOutput, error) {
		if c.Principal.ARN != "" || c.Registry.Account != "" {
			t.Errorf("a caller from nowhere: %+v", c)
		}
		c.Identity = audit.Identity{Account: "222222222222", ARN: "arn:of:" + *in.ShipName, Type: "WebIdentityUser"}
		return &dockOutput{Berth: p(int64(3)), Crew: []string{}}, nil
	})}
	pipeline, err := aws.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	send := func(operation string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(`{"shipName":"Vasa"}`))
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", "Fake_V1."+operation)
		w := httptest.NewRecorder()
		pipeline.ServeHTTP(w, r)
		return w
	}
	if w := send("SinkShip"); w.Code != http.StatusOK || len(h.asked) != 0 {
		t.Errorf("%d %s, asked %v", w.Code, w.Body, h.asked)
	}
	if e := h.entries[0]; e.Principal.ARN != "arn:of:Vasa" || e.Account != "222222222222" || e.EventName != "SinkShip" || e.ReadOnly {
		t.Errorf("%+v", e)
	}
	if w := send("DockShip"); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "MissingAuthenticationToken") {
		t.Errorf("another operation without a signature: %d %s", w.Code, w.Body)
	}
}
