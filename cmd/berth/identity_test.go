package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/identityadmin"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/principal/organization"
)

// TestMain lets the test be the program itself, for its exit status.
func TestMain(m *testing.M) {
	if os.Getenv("BERTH_TEST_IS_BERTH") != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// server is a program that runs on a data directory.
type server struct {
	t    *testing.T
	data string
}

func start(t *testing.T) server {
	t.Helper()
	cfg := config.Default()
	cfg.Data, cfg.Listen = t.TempDir(), "127.0.0.1:0"
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	a, err := app.New(t.Context(), cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- a.Run(ctx, func(app.ServerInfo) { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, a.Close()); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return server{t, cfg.Data}
}

// try runs a command line against the server.
func (s server) try(args ...string) (string, error) {
	s.t.Helper()
	var out bytes.Buffer
	parser, err := newParser(s.t.Context(), &out)
	if err != nil {
		s.t.Fatal(err)
	}
	parsed, err := parser.Parse(append(args, "--data", s.data))
	if err != nil {
		return "", err
	}
	err = parsed.Run()
	return out.String(), err
}

// berth is try for what has to succeed.
func (s server) berth(args ...string) string {
	s.t.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// refused is try for what has to fail, and to say something.
func (s server) refused(want string, args ...string) {
	s.t.Helper()
	out, err := s.try(args...)
	if err == nil || !strings.Contains(err.Error(), want) || out != "" {
		s.t.Errorf("berth %s: %v, want %q\n%s", strings.Join(args, " "), err, want, out)
	}
}

// like compares an output with a pattern, in which spaces stand for any, and
// every line is one of the output's.
func like(t *testing.T, got, pattern string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(pattern)) {
		words := strings.Fields(line)
		for i, w := range words {
			if form, ok := strings.CutPrefix(w, "~"); ok {
				words[i] = form
			} else {
				words[i] = regexp.QuoteMeta(w)
			}
		}
		lines = append(lines, ` *`+strings.Join(words, ` +`)+` *`)
	}
	if !regexp.MustCompile(`^` + strings.Join(lines, "\n") + "\n$").MatchString(got) {
		t.Errorf("got\n%s\nwant like\n%s", got, pattern)
	}
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const denyDelete = `{
  "Version": "2012-10-17",
  "Statement": {"Sid": "NoDelete", "Effect": "Deny", "Action": "ecr:Delete*", "Resource": "*"}
}
`

func TestAccountCommands(t *testing.T) {
	s := start(t)
	like(t, s.berth("account", "create", "222222222222", "--name", "Dev team"), `
		Account: 222222222222
		Name: Dev team
		Root user: arn:aws:iam::222222222222:root
		Access key id: ~AKIA[A-Z2-7]{16}
		Secret access key: ~[A-Za-z0-9+/]{40}
		The secret is shown this once: keep it.`)
	var made identityadmin.CreatedAccount
	if err := json.Unmarshal([]byte(s.berth("account", "create", "--no-root-key", "--json")), &made); err != nil || len(made.ID) != 12 || made.RootKey != nil {
		t.Errorf("%+v %v", made, err)
	}
	if out := s.berth("account", "create", "--no-root-key"); strings.Contains(strings.ToLower(out), "key") || strings.Contains(out, "secret") {
		t.Error(out)
	}
	like(t, s.berth("account", "root-key", "222222222222"), `
		Account: 222222222222
		Access key id: ~AKIA[A-Z2-7]{16}
		Secret access key: ~[A-Za-z0-9+/]{40}
		The secret is shown this once: keep it.`)
	s.refused("two access keys", "account", "root-key", "222222222222")
	s.refused("exists already", "account", "create", "222222222222")
	s.refused("12 digits", "account", "create", "22")
	s.refused("no account 333333333333", "account", "show", "333333333333")
	s.refused("no account ../keys", "account", "show", "../keys")
	like(t, s.berth("account", "show", "222222222222"), `
		Account: 222222222222
		Name: Dev team
		Alias: none
		Created: ~[-0-9]{10} ~[0-9:]{5}
		Root user: arn:aws:iam::222222222222:root
		Root access keys: 2
		Users: 0
		Roles: 0
		Repositories: 0
		Token life: 12h0m0s
		Organization: none`)
	var detail identityadmin.AccountDetail
	if err := json.Unmarshal([]byte(s.berth("account", "show", "222222222222", "--json")), &detail); err != nil || detail.RootKeys != 2 || detail.Name != "Dev team" {
		t.Errorf("%+v %v", detail, err)
	}
	out := s.berth("account", "list")
	if lines := strings.Split(out, "\n"); len(lines) != 6 || !strings.HasPrefix(lines[0], "ID            NAME          ALIAS  CREATED") ||
		!strings.HasPrefix(lines[1], "000000000000  000000000000  -      20") || !strings.Contains(out, "\n222222222222  Dev team      -      20") {
		t.Error(out)
	}
	var all []struct{ ID, Name string }
	if err := json.Unmarshal([]byte(s.berth("account", "list", "--json")), &all); err != nil || len(all) != 4 {
		t.Errorf("%+v %v", all, err)
	}
	if _, err := (server{t, t.TempDir()}).try("account", "list"); err == nil || !strings.Contains(err.Error(), "no server is running") {
		t.Error(err)
	}
}

func TestOrganizationCommands(t *testing.T) {
	s := start(t)
	s.berth("account", "create", "222222222222")
	if out := s.berth("organization", "show"); !strings.Contains(out, "berth organization create --management-account") {
		t.Error(out)
	}
	if out := s.berth("organization", "show", "--json"); out != "[]\n" {
		t.Error(out)
	}
	s.refused("--management-account", "organization", "create")
	like(t, s.berth("organization", "create", "--management-account", "000000000000"), `
		Organization: ~o-[a-z0-9]{10}
		Root: ~r-[a-z0-9]{4}
		Management account: 000000000000
		Created: ~[-0-9]{10} ~[0-9:]{5}

		TARGET ID POLICIES
		root ~r-[a-z0-9]{4} FullAWSAccess
		account 000000000000 FullAWSAccess

		POLICY ID CHARACTERS ATTACHED TO
		FullAWSAccess ~p-[a-z0-9]{8} 85 root, 000000000000`)
	s.refused("no unit dev/team", "organization", "attach-account", "222222222222", "--unit", "dev/team")
	like(t, s.berth("organization", "create-unit", "dev/team"), `Created unit dev/team (organization ~o-[a-z0-9]{10}\).`)
	like(t, s.berth("organization", "attach-account", "222222222222"), `Account 222222222222 is now at the root (organization ~o-[a-z0-9]{10}\).`)
	like(t, s.berth("organization", "attach-account", "222222222222", "--unit", "dev/team"), `Account 222222222222 is now in unit dev/team (organization ~o-[a-z0-9]{10}\).`)
	if out := s.berth("account", "show", "222222222222"); !regexp.MustCompile(`Organization: +o-[a-z0-9]{10}, unit dev/team\n`).MatchString(out) {
		t.Error(out)
	}
	file := write(t, denyDelete)
	like(t, s.berth("organization", "put-policy", "NoDelete", file), `Stored policy NoDelete (organization ~o-[a-z0-9]{10}\).`)
	like(t, s.berth("organization", "attach-policy", "NoDelete", "--to", "unit:dev"), `Policy NoDelete is attached to unit:dev (organization ~o-[a-z0-9]{10}\).`)
	s.berth("organization", "attach-policy", "Other", "--to", "222222222222", "--file", file)
	like(t, s.berth("organization", "show"), `
		Organization: ~o-[a-z0-9]{10}
		Root: ~r-[a-z0-9]{4}
		Management account: 000000000000
		Created: ~[-0-9]{10} ~[0-9:]{5}

		TARGET ID POLICIES
		root ~r-[a-z0-9]{4} FullAWSAccess
		account 000000000000 FullAWSAccess
		unit:dev ~ou-[a-z0-9]{4}-[a-z0-9]{8} FullAWSAccess, NoDelete
		unit:dev/team ~ou-[a-z0-9]{4}-[a-z0-9]{8} FullAWSAccess
		account 222222222222 FullAWSAccess, Other

		POLICY ID CHARACTERS ATTACHED TO
		FullAWSAccess ~p-[a-z0-9]{8} 85 root, 000000000000, unit:dev, unit:dev/team, 222222222222
		NoDelete ~p-[a-z0-9]{8} 109 unit:dev
		Other ~p-[a-z0-9]{8} 109 222222222222`)
	var all []organization.Organization
	if err := json.Unmarshal([]byte(s.berth("organization", "show", "--json")), &all); err != nil || len(all) != 1 || len(all[0].Policies) != 3 {
		t.Errorf("%+v %v", all, err)
	}
	s.refused("there is no organization o-none", "organization", "show", "--organization", "o-none")
	s.refused("no organization o-none", "organization", "delete", "--organization", "o-none")
	s.refused("attached in 1 places", "organization", "delete-policy", "Other")
	s.refused("last policy", "organization", "detach-policy", "FullAWSAccess", "--from", "root")
	s.refused("management account", "organization", "detach-account", "000000000000")
	s.refused("1 units", "organization", "delete-unit", "dev")
	s.refused("cannot be read", "organization", "put-policy", "X", file+"-not")
	s.refused("is empty", "organization", "attach-policy", "NoDelete", "--to", "root", "--file", write(t, " \n"))
	s.refused("too long", "organization", "put-policy", "X", write(t, strings.Repeat(" ", maxDocument+1)))
	s.refused("Syntax errors in policy.", "organization", "put-policy", "X", write(t, "{"))

	for _, args := range [][]string{
		{"detach-policy", "Other", "--from", "222222222222"}, {"delete-policy", "Other"},
		{"detach-policy", "NoDelete", "--from", "unit:dev"}, {"detach-account", "222222222222"},
		{"delete-unit", "dev/team"}, {"delete-unit", "dev"}, {"delete"},
	} {
		if out := s.berth(append([]string{"organization"}, args...)...); !strings.Contains(out, all[0].ID) {
			t.Errorf("%v: %s", args, out)
		}
	}
	if out := s.berth("organization", "show", "--json"); out != "[]\n" {
		t.Error(out)
	}
}

func TestSeveralOrganizations(t *testing.T) {
	s := start(t)
	s.berth("account", "create", "222222222222")
	var ids []string
	for _, manager := range []string{"000000000000", "222222222222"} {
		var o organization.Organization
		if err := json.Unmarshal([]byte(s.berth("organization", "create", "--management-account", manager, "--json")), &o); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, o.ID)
	}
	s.refused("--organization", "organization", "create-unit", "dev")
	for _, id := range ids {
		s.berth("organization", "create-unit", "dev", "--organization", id)
		if out := s.berth("organization", "show", "--organization", id); strings.Count(out, "Organization:") != 1 || !strings.Contains(out, id) {
			t.Error(out)
		}
	}
	if out := s.berth("organization", "show"); strings.Count(out, "Organization:") != 2 {
		t.Error(out)
	}
}

func TestExplainCommand(t *testing.T) {
	s := start(t)
	s.berth("account", "create", "222222222222")
	s.berth("organization", "create", "--management-account", "000000000000")
	s.berth("organization", "attach-account", "222222222222")
	s.berth("organization", "attach-policy", "NoDelete", "--to", "root", "--file",
		write(t, strings.Replace(denyDelete, `"Resource": "*"`, `"Resource": "*", "Condition": {"StringNotEquals": {"aws:PrincipalTag/team": ["ops", "dev"]}}`, 1)))

	explain := []string{"explain", "--principal", "222222222222", "--action", "ecr:DeleteRepository"}
	out, err := s.try(explain...)
	if err == nil || !errors.Is(err, statusDenied) {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"Decision:         DENIED\n", "with an explicit deny in a service control policy", "Statement[0] (Sid NoDelete) of service control policy NoDelete (p-",
		"Needed: ", "aws:principaltag/team", "EFFECT  KIND", "Deny    service control policy  Statement[0]  NoDelete  service control policy NoDelete"} {
		if !strings.Contains(out, want) {
			t.Errorf("does not say %q:\n%s", want, out)
		}
	}
	out = s.berth(append(explain, "--context", "aws:PrincipalTag/team=dev")...)
	if !strings.HasPrefix(out, "Decision:    ALLOWED\n") || strings.Contains(out, "Needed") {
		t.Error(out)
	}
	out, err = s.try(append(explain, "--json")...)
	var e authz.Explanation
	if jsonErr := json.Unmarshal([]byte(out), &e); jsonErr != nil || !errors.Is(err, statusDenied) || e.Sid != "NoDelete" || e.Allowed {
		t.Errorf("%v %v %+v", err, jsonErr, e)
	}
	s.refused("cannot be found", "explain", "--principal", "arn:aws:iam::222222222222:user/none", "--action", "ecr:PutImage")
	s.refused("want KEY=VALUE", append(explain, "--context", "team")...)
	s.refused("want KEY=VALUE", append(explain, "--context", "team=dev")...)
	s.refused("--action", "explain", "--principal", "222222222222")
}

func TestExitStatus(t *testing.T) {
	s := start(t)
	s.berth("account", "create", "222222222222")
	s.berth("organization", "create", "--management-account", "000000000000")
	s.berth("organization", "attach-account", "222222222222")
	s.berth("organization", "attach-policy", "NoDelete", "--to", "root", "--file", write(t, denyDelete))
	for _, c := range []struct {
		principal, action string
		status            int
		stdout, stderr    string
	}{
		{"222222222222", "ecr:PutImage", 0, "ALLOWED", "^$"},
		{"222222222222", "ecr:DeleteRepository", 3, "DENIED", "^$"},
		{"333333333333", "ecr:PutImage", 1, "^$", "^berth: There is no account 333333333333"},
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "explain", "--data", s.data, "--principal", c.principal, "--action", c.action)
		cmd.Env = append(os.Environ(), "BERTH_TEST_IS_BERTH=1")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != c.status || !regexp.MustCompile(c.stdout).Match(stdout.Bytes()) || !regexp.MustCompile(c.stderr).Match(stderr.Bytes()) {
			t.Errorf("%s %s: status %d, want %d\n%s\n%s", c.principal, c.action, got, c.status, &stdout, &stderr)
		}
	}
}

func TestParseContext(t *testing.T) {
	got, err := parseContext([]string{"aws:SourceIp=192.0.2.1", "aws:TagKeys=a,b;c=d", "AWS:tagkeys=e", "aws:PrincipalTag/x="})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(got)
	if want := `{"aws:principaltag/x":[""],"aws:sourceip":["192.0.2.1"],"aws:tagkeys":["a,b;c=d","e"]}`; err != nil || string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
}

// Texts of other people must not move the cursor of who reads them.
func TestPrintExplanation(t *testing.T) {
	var out bytes.Buffer
	if err := printExplanation(&out, authz.Explanation{Allowed: true, Reason: "R.", Policy: "P", Statement: 2, Matched: []authz.Matched{
		{Side: "resource-based policy", Policy: "P", Statement: 2, Sid: "a\x1b[2J\tb\u202ec", Effect: "Allow"},
	}}); err != nil {
		t.Fatal(err)
	}
	want := `Decision:    ALLOWED
Reason:      R.
Decided by:  Statement[2] of P

Statements that apply:
EFFECT  KIND                   STATEMENT     SID          POLICY
Allow   resource-based policy  Statement[2]  a?[2J?b?c    P
`
	if got := out.String(); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	out.Reset()
	if err := printExplanation(&out, authz.Explanation{Reason: "R.", Needed: "N.", MissingContext: []string{"aws:a", "aws:b"}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"DENIED", "no statement", "N.", "aws:a, aws:b", "No statement of any policy applies."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("does not say %q:\n%s", want, &out)
		}
	}
}

func TestPlaceText(t *testing.T) {
	for want, p := range map[string]*organization.Place{
		"none":                             nil,
		"o-1, at the root":                 {ID: "o-1"},
		"o-1, unit a/b":                    {ID: "o-1", Unit: "a/b"},
		"o-1 (management account)":         {ID: "o-1", Management: true},
		"o-1, unit a (management account)": {ID: "o-1", Unit: "a", Management: true},
	} {
		if got := placeText(p); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
