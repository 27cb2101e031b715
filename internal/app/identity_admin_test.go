package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/app/identityadmin"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

const denyDelete = `{"Version":"2012-10-17","Statement":{"Sid":"NoDelete","Effect":"Deny","Action":"ecr:DeleteRepository","Resource":"*"}}`

// admin is the administration socket of a program that runs.
type admin struct {
	t      *testing.T
	client *http.Client
}

// startAdmin runs the program with its socket until the test ends.
func startAdmin(t *testing.T) (*apptest.Server, admin) {
	t.Helper()
	data := ""
	s := apptest.Start(t, apptest.Options{Config: func(c *config.Config) {
		data, c.Listen = c.Data, "127.0.0.1:0"
		c.Regions = []name.Region{"eu-west-1"}
	}})
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.App.Run(ctx, func(app.ServerInfo) { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return s, admin{t, app.AdminClient(data)}
}

// call sends a request, reads the answer into out when it is 200, and returns
// the status with the text of another.
func (a admin) call(method, path string, in, out any) (status int, text string) {
	a.t.Helper()
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			a.t.Fatal(err)
		}
	}
	r, err := http.NewRequestWithContext(a.t.Context(), method, "http://berth"+path, bytes.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	answer, err := a.client.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	if answer.StatusCode == http.StatusOK && out != nil {
		if err := json.Unmarshal(got, out); err != nil {
			a.t.Fatalf("%s: %v", got, err)
		}
	}
	return answer.StatusCode, string(got)
}

// must is call that has to succeed.
func (a admin) must(method, path string, in, out any) {
	a.t.Helper()
	if status, text := a.call(method, path, in, out); status != http.StatusOK {
		a.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
}

// refused is call that has to fail with a text.
func (a admin) refused(want, method, path string, in any) {
	a.t.Helper()
	if status, text := a.call(method, path, in, nil); status != http.StatusBadRequest || !strings.Contains(text, want) {
		a.t.Errorf("%s %s %+v: %d %s, want %q", method, path, in, status, text, want)
	}
}

func TestAccountAdministration(t *testing.T) {
	s, a := startAdmin(t)
	var made identityadmin.CreatedAccount
	a.must("POST", "/accounts", identityadmin.AccountRequest{Name: "Dev"}, &made)
	if !regexp.MustCompile(`^[1-9][0-9]{11}$`).MatchString(string(made.ID)) || made.Name != "Dev" || made.CreatedAt.IsZero() ||
		made.RootARN != "arn:aws:iam::"+string(made.ID)+":root" || made.RootKey == nil {
		t.Fatalf("%+v", made)
	}
	west := apptest.ClientOf(s.URL, "eu-west-1", made.RootKey.AccessKeyID, made.RootKey.SecretAccessKey)
	for _, client := range []*ecr.Client{west, apptest.ClientOf(s.URL, "us-east-1", made.RootKey.AccessKeyID, made.RootKey.SecretAccessKey)} {
		out, err := client.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("mine")})
		if err != nil || *out.Repository.RegistryId != string(made.ID) {
			t.Fatalf("with the new key: %+v %v", out, err)
		}
	}
	o := west.Options()
	identities := iam.New(iam.Options{BaseEndpoint: &s.URL, Region: "us-east-1", RetryMaxAttempts: 1, Credentials: o.Credentials, HTTPClient: o.HTTPClient})
	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}}`
	for _, made := range []string{"one", "two"} {
		if _, err := identities.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &made}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := identities.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("builder"), AssumeRolePolicyDocument: &trust}); err != nil {
		t.Fatal(err)
	}
	var detail identityadmin.AccountDetail
	a.must("GET", "/accounts/"+string(made.ID), nil, &detail)
	if detail.Name != "Dev" || detail.RootKeys != 1 || detail.Repositories != 2 || detail.Users != 2 || detail.Roles != 1 || detail.Organization != nil {
		t.Errorf("%+v", detail)
	}

	var key identityadmin.RootKey
	a.must("POST", "/accounts/"+string(made.ID)+"/root-key", nil, &key)
	if key.AccessKeyID == made.RootKey.AccessKeyID || key.SecretAccessKey == "" {
		t.Errorf("%+v", key)
	}
	if _, err := apptest.ClientOf(s.URL, "us-east-1", key.AccessKeyID, key.SecretAccessKey).DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{}); err != nil {
		t.Error(err)
	}
	a.refused("two access keys", "POST", "/accounts/"+string(made.ID)+"/root-key", nil)
	a.refused("no account 999999999999", "POST", "/accounts/999999999999/root-key", nil)
	a.refused("no account 999999999999", "GET", "/accounts/999999999999", nil)

	var bare identityadmin.CreatedAccount
	a.must("POST", "/accounts", identityadmin.AccountRequest{ID: "012345678901", NoRootKey: true}, &bare)
	if bare.RootKey != nil || bare.ID != "012345678901" || bare.Name != "012345678901" {
		t.Errorf("%+v", bare)
	}
	a.must("GET", "/accounts/012345678901", nil, &detail)
	if detail.RootKeys != 0 {
		t.Errorf("%+v", detail)
	}
	a.refused("exists already", "POST", "/accounts", identityadmin.AccountRequest{ID: "012345678901"})
	for _, bad := range []name.AccountID{"12", "01234567890x", "0123456789012"} {
		a.refused("12 digits", "POST", "/accounts", identityadmin.AccountRequest{ID: bad})
	}
	for _, bad := range []string{strings.Repeat("x", 51), "a\x1b[2J"} {
		a.refused("name of an account", "POST", "/accounts", identityadmin.AccountRequest{Name: bad})
	}
	a.refused("not the JSON", "POST", "/accounts", "text")
	var all []principal.Account
	a.must("GET", "/accounts", nil, &all)
	if len(all) != 3 || all[0].ID != "000000000000" || all[1].ID != "012345678901" || all[2].ID != made.ID {
		t.Errorf("%+v", all)
	}
}

func TestOrganizationAdministration(t *testing.T) {
	s, a := startAdmin(t)
	type request = identityadmin.OrganizationRequest
	type answer struct {
		ID           string
		RootPolicies []string
		Units        []struct{ Path string }
		Accounts     []struct{ ID, Unit string }
		Policies     []struct{ Name string }
	}
	var list []answer
	if status, text := a.call("GET", "/organizations", nil, &list); status != http.StatusOK || strings.TrimSpace(text) != "[]" {
		t.Errorf("none: %d %s", status, text)
	}
	a.refused("berth organization create", "POST", "/organizations", request{Do: "attach-account", Account: "222222222222"})
	a.refused("12 digits", "POST", "/organizations", request{Do: "create"})
	var member identityadmin.CreatedAccount
	a.must("POST", "/accounts", identityadmin.AccountRequest{ID: "222222222222"}, &member)
	var o answer
	a.must("POST", "/organizations", request{Do: "create", Account: "000000000000"}, &o)
	a.must("POST", "/organizations", request{Do: "create-unit", Unit: "dev"}, &o)
	a.must("POST", "/organizations", request{Do: "attach-account", Account: "222222222222", Unit: "dev"}, &o)
	if len(o.Accounts) != 2 || o.Accounts[1].ID != "222222222222" || o.Accounts[1].Unit != "dev" || len(o.Units) != 1 {
		t.Errorf("%+v", o)
	}
	var detail identityadmin.AccountDetail
	a.must("GET", "/accounts/222222222222", nil, &detail)
	if detail.Organization == nil || detail.Organization.ID != o.ID || detail.Organization.Unit != "dev" {
		t.Errorf("%+v", detail.Organization)
	}

	// What is attached holds for the next request, and binds the root user.
	client := apptest.ClientOf(s.URL, "us-east-1", member.RootKey.AccessKeyID, member.RootKey.SecretAccessKey)
	try := func(client *ecr.Client) error {
		if _, err := client.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String("tried")}); err != nil && !strings.Contains(err.Error(), "already exists") {
			t.Fatal(err)
		}
		_, err := client.DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: aws.String("tried")})
		return err
	}
	denied := func(want bool) {
		t.Helper()
		err := try(client)
		if got := err != nil && strings.Contains(err.Error(), "with an explicit deny in a service control policy"); got != want || !want && err != nil {
			t.Errorf("denied: %t, want %t (%v)", got, want, err)
		}
	}
	denied(false)
	for _, target := range []string{"root", "unit:dev", "222222222222"} {
		a.must("POST", "/organizations", request{Do: "attach-policy", Policy: "NoDelete", Document: denyDelete, Target: target}, &o)
		denied(true)
		if err := try(s.ECR); err != nil {
			t.Errorf("the management account: %v", err)
		}
		a.must("POST", "/organizations", request{Do: "detach-policy", Policy: "NoDelete", Target: target}, &o)
		denied(false)
	}
	a.must("POST", "/organizations", request{Do: "attach-policy", Policy: "NoDelete", Target: "root"}, &o)
	a.must("POST", "/organizations", request{Do: "put-policy", Policy: "NoDelete", Document: strings.ReplaceAll(denyDelete, "ecr:DeleteRepository", "ecr:PutImage")}, &o)
	denied(false)
	a.must("POST", "/organizations", request{Do: "put-policy", Policy: "NoDelete", Document: denyDelete}, &o)
	denied(true)
	a.must("POST", "/organizations", request{Do: "detach-account", Account: "222222222222"}, &o)
	if len(o.Accounts) != 1 {
		t.Errorf("%+v", o)
	}
	denied(false)

	for _, c := range []struct {
		in   request
		want string
	}{
		{request{Do: "detach-account", Account: "222222222222"}, "no organization"},
		{request{Do: "detach-account", Account: "000000000000"}, "management account"},
		{request{Do: "attach-account", Account: "dev"}, "12 digits"},
		{request{Do: "put-policy", Policy: "P", Document: "{"}, "Syntax errors in policy."},
		{request{Do: "attach-policy", Policy: "NoDelete", Target: "unit:none"}, "no unit none"},
		{request{Do: "delete-policy", Policy: "NoDelete"}, "attached"},
		{request{Do: "delete-unit", Unit: "none"}, "no unit none"},
		{request{Do: "rename"}, `unknown change "rename"`},
		{request{Do: "delete", Organization: "o-none"}, "no organization o-none"},
	} {
		a.refused(c.want, "POST", "/organizations", c.in)
	}
	a.must("POST", "/organizations", request{Do: "detach-policy", Policy: "NoDelete", Target: "root"}, &o)
	a.must("POST", "/organizations", request{Do: "delete-policy", Policy: "NoDelete"}, &o)
	a.must("POST", "/organizations", request{Do: "delete-unit", Unit: "dev"}, &o)
	a.must("GET", "/organizations", nil, &list)
	if len(list) != 1 || len(list[0].Units) != 0 || len(list[0].Policies) != 1 || len(list[0].RootPolicies) != 1 {
		t.Errorf("%+v", list)
	}
	a.must("POST", "/organizations", request{Do: "delete"}, &o)
	if o.ID != list[0].ID {
		t.Errorf("%+v", o)
	}
	a.must("GET", "/organizations", nil, &list)
	if len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

func TestExplanation(t *testing.T) {
	_, a := startAdmin(t)
	a.must("POST", "/accounts", identityadmin.AccountRequest{ID: "222222222222"}, nil)
	a.must("POST", "/organizations", identityadmin.OrganizationRequest{Do: "create", Account: "000000000000"}, nil)
	a.must("POST", "/organizations", identityadmin.OrganizationRequest{Do: "attach-account", Account: "222222222222"}, nil)
	west := strings.Replace(denyDelete, `"Resource":"*"`, `"Resource":"*","Condition":{"StringEquals":{"aws:RequestedRegion":"eu-west-1"}}`, 1)
	a.must("POST", "/organizations", identityadmin.OrganizationRequest{Do: "attach-policy", Policy: "NoDelete", Document: west, Target: "root"}, nil)
	question := authz.Question{Principal: "222222222222", Action: "ecr:DeleteRepository", Resource: "arn:aws:ecr:eu-west-1:222222222222:repository/x"}
	var e authz.Explanation
	a.must("POST", "/explain", question, &e) // in the resource's region
	if e.Allowed || e.Sid != "NoDelete" || e.Statement != 0 || !strings.Contains(e.Policy, "service control policy NoDelete (p-") || e.Needed == "" || len(e.Matched) != 3 {
		t.Errorf("%+v", e)
	}
	for what, change := range map[string]func(*authz.Question){
		"in a region that is named": func(q *authz.Question) { q.Region = "us-east-1" },
		"in the default region":     func(q *authz.Question) { q.Resource = "*" },
		"with a context of its own": func(q *authz.Question) { q.Context = map[string][]string{"aws:requestedregion": {"us-east-1"}} },
		"in the management account": func(q *authz.Question) { q.Principal = "arn:aws:iam::000000000000:root"; q.Resource = "*" },
		"another action":            func(q *authz.Question) { q.Action = "ecr:PutImage" },
	} {
		q := question
		change(&q)
		var e authz.Explanation
		if a.must("POST", "/explain", q, &e); !e.Allowed {
			t.Errorf("%s: %+v", what, e)
		}
	}
	for want, q := range map[string]authz.Question{
		"neither an ARN nor *": {Principal: "222222222222", Action: "ecr:PutImage", Resource: "x"},
		"no account":           {Principal: "999999999999", Action: "ecr:PutImage"},
		"cannot be found":      {Principal: "arn:aws:iam::222222222222:user/none", Action: "ecr:PutImage"},
		"not an ARN":           {Principal: "me", Action: "ecr:PutImage"},
	} {
		a.refused(want, "POST", "/explain", q)
	}
}
