package identity

import (
	"crypto/rand"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// organized runs berth organization and returns what it prints.
func (w *world) organized(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.Command(t.Context(), append([]string{"organization", args[0], "--data", w.Data}, args[1:]...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("berth organization %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func organizationAttempts() group {
	return group{"Organizations", []attempt{
		{"what a service control policy denies: by the member's root user, and by an administrator there", "AccessDeniedException, with an explicit deny in a service control policy", func(t *testing.T, w *world) error {
			o := newOrganization(t, w)
			o.control(t, allow("*", "*"), deny("ecr:CreateRepository", "*"))
			admin := o.member.user(t, allow("*", "*"))
			var results []error
			for _, c := range []*caller{o.member, admin} {
				_, err := c.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: aws.String(unique("repo"))})
				results = append(results, err)
			}
			o.manager.repo(t) // binds nobody in the management account
			return each(results...)
		}},
		{"what a service control policy does not allow", "AccessDenied, because no service control policy allows the iam:CreateUser action", func(t *testing.T, w *world) error {
			o := newOrganization(t, w)
			o.control(t, allow("ecr:*", "*"))
			o.member.repo(t)
			_, err := o.member.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String(unique("user"))})
			return err
		}},
		{"a token that was fetched before the service control policy", "403 DENIED, with an explicit deny in a service control policy", func(t *testing.T, w *world) error {
			o := newOrganization(t, w)
			repo := o.member.repo(t)
			r := o.member.registry(t)
			rightful(t, "before", push(t.Context(), r, repo, newImage(t)))
			o.control(t, allow("*", "*"), deny("ecr:BatchGetImage", "*"))
			return pull(t.Context(), r, repo)
		}},
		{"a repository for members of an organization (aws:PrincipalOrgID), by an account outside", "403 DENIED, because no resource-based policy allows the ecr:BatchGetImage action", func(t *testing.T, w *world) error {
			o := newOrganization(t, w)
			repo, _ := w.a.filled(t)
			w.a.setPolicy(t, repo, grant(pulling, "*").when("StringEquals", "aws:PrincipalOrgID", o.id))
			rightful(t, "by a member", pull(t.Context(), w.registryOf(accountA, o.member.login(t)), repo))
			err := pull(t.Context(), w.registryOf(accountA, w.b.login(t)), repo)
			w.organized(t, "detach-account", o.member.account)
			return each(err, pull(t.Context(), w.registryOf(accountA, o.member.login(t)), repo))
		}},
		{"the root access key printed again: berth account show, berth account list, the server's log", "not there", func(t *testing.T, w *world) error {
			account := newAccount(t, w)
			for _, args := range [][]string{{"account", "show", account.account}, {"account", "show", "--json", account.account}, {"account", "list"}, {"account", "list", "--json"}} {
				out := must(w.Command(t.Context(), append(args, "--data", w.Data)...).CombinedOutput())(t)
				if strings.Contains(string(out), account.credentials.SecretAccessKey) {
					return outcome(strings.Join(args, " ") + " prints it")
				}
			}
			if strings.Contains(w.Log(), account.credentials.SecretAccessKey) {
				return outcome("the log has it")
			}
			return outcome("not there")
		}},
	}}
}

// newAccount makes an account that nothing else uses, and is its root user.
func newAccount(t *testing.T, w *world) *caller {
	t.Helper()
	n := must(rand.Int(rand.Reader, big.NewInt(800_000_000_000)))(t)
	account := n.Add(n, big.NewInt(200_000_000_000)).String()
	id, secret := w.CreateAccount(t, account)
	return w.caller(account, rootARN(account), aws.Credentials{AccessKeyID: id, SecretAccessKey: secret})
}

// members are two accounts of an organization of their own.
type members struct {
	w               *world
	id              string
	manager, member *caller
}

func newOrganization(t *testing.T, w *world) members {
	t.Helper()
	o := members{w: w, manager: newAccount(t, w), member: newAccount(t, w)}
	for line := range strings.Lines(w.organized(t, "create", "--management-account", o.manager.account)) {
		if id, ok := strings.CutPrefix(line, "Organization:"); ok {
			o.id = strings.TrimSpace(id)
		}
	}
	w.organized(t, "attach-account", "--organization", o.id, o.member.account)
	return o
}

// control puts the statements over the member, and over the manager, whom they
// do not bind, in place of what allowed everything.
func (o members) control(t *testing.T, statements ...statement) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(document(statements...)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, account := range []string{o.member.account, o.manager.account} {
		o.w.organized(t, "attach-policy", "--organization", o.id, "--file", file, "--to", account, "control")
		o.w.organized(t, "detach-policy", "--organization", o.id, "--from", account, "FullAWSAccess")
	}
}
