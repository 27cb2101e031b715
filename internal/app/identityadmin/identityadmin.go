// Package identityadmin is what the administration socket does with accounts and
// organizations, and with questions about who may do what.
//
// It holds no rules of its own; those are in domain/principal, the packages below it,
// and domain/authz. App gives it its routes.
package identityadmin

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/credential"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/organization"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Service does it.
type Service struct {
	Principals    *principal.Service
	Credentials   *credential.Service
	Entities      *entity.Service
	Organizations *organization.Service
	Registries    *registry.Service
	Repositories  *repository.Service
	Access        *authz.Service
	// Region is the default one.
	Region name.Region
}

// AccountRequest asks for a new account.
type AccountRequest struct {
	ID   name.AccountID `json:"id"`   // "": a random one that is free
	Name string         `json:"name"` // "": the number
	// NoRootKey leaves the account without an access key.
	NoRootKey bool `json:"noRootKey"`
}

// TokenLifeRequest asks how long an account's authorization tokens shall live.
type TokenLifeRequest struct {
	Life time.Duration `json:"life"` // 0: as long as AWS's
}

// SetTokenLife sets how long an account's authorization tokens live, and returns the
// account.
func (s Service) SetTokenLife(ctx context.Context, id name.AccountID, in TokenLifeRequest) (principal.Account, error) {
	if err := s.Principals.SetTokenLife(ctx, id, in.Life); err != nil {
		return principal.Account{}, err
	}
	return s.Principals.Account(ctx, id)
}

// RootKey is an access key of a root user; its secret is shown this once.
type RootKey struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
}

// CreatedAccount is a new account.
type CreatedAccount struct {
	principal.Account
	RootARN string   `json:"rootArn"`
	RootKey *RootKey `json:"rootKey,omitempty"` // nil: none was asked for
}

// maxAccountName is how long AWS lets the name of an account be, in characters.
const maxAccountName = 50

// CreateAccount makes an account, with an access key of its root user unless
// none is asked for.
func (s Service) CreateAccount(ctx context.Context, in AccountRequest) (CreatedAccount, error) {
	if utf8.RuneCountInString(in.Name) > maxAccountName || !utf8.ValidString(in.Name) || strings.ContainsFunc(in.Name, unicode.IsControl) {
		return CreatedAccount{}, errs.New(errs.InvalidInput, "The name of an account has at most %d characters, and no control characters.", maxAccountName)
	}
	if _, err := name.ParseAccountID(string(in.ID)); in.ID != "" && err != nil {
		return CreatedAccount{}, notAnAccount(in.ID)
	}
	id, err := s.addAccount(ctx, in.ID, in.Name)
	if err != nil {
		return CreatedAccount{}, err
	}
	made := CreatedAccount{RootARN: principal.RootARN(id)}
	if made.Account, err = s.Principals.Account(ctx, id); err != nil || in.NoRootKey {
		return made, err
	}
	key, err := s.CreateRootKey(ctx, id)
	if err != nil {
		return made, fmt.Errorf("account %s was made, but not its access key: %w; try again with: berth account root-key %s", id, err, id)
	}
	made.RootKey = &key
	return made, nil
}

// addAccount stores an account, with a random number where id is "".
func (s Service) addAccount(ctx context.Context, id name.AccountID, accountName string) (name.AccountID, error) {
	for tries := 0; ; tries++ {
		number, called := id, accountName
		if number == "" {
			number = randomAccountID()
		}
		if called == "" {
			called = string(number)
		}
		err := s.Principals.CreateAccount(ctx, number, called)
		if id != "" || !errs.Is(err, errs.EntityExists) || tries == 100 {
			return number, err
		}
	}
}

// randomAccountID makes a number of twelve digits without a leading zero, which
// spreadsheets and YAML would lose.
func randomAccountID() name.AccountID {
	const least = 100_000_000_000
	// It never fails: crypto/rand ends the program instead.
	n, _ := rand.Int(rand.Reader, big.NewInt(9*least))
	return name.AccountID(n.Add(n, big.NewInt(least)).String())
}

func notAnAccount(id name.AccountID) error {
	return errs.New(errs.InvalidInput, "%q is no account: an account id has 12 digits.", id)
}

// CreateRootKey makes another access key for the account's root user, who can
// have two.
func (s Service) CreateRootKey(ctx context.Context, account name.AccountID) (RootKey, error) {
	if _, err := s.Principals.Account(ctx, account); err != nil {
		return RootKey{}, err
	}
	k, err := s.Credentials.CreateAccessKey(ctx, account, credential.Owner{})
	if errs.Is(err, errs.EntityLimit) {
		return RootKey{}, errs.New(errs.EntityLimit, "The root user of account %s has two access keys, as many as it can have; delete one as that user, with: aws iam delete-access-key", account)
	}
	return RootKey{AccessKeyID: k.ID, SecretAccessKey: k.Secret}, err
}

// AccountDetail is an account with what is in it.
type AccountDetail struct {
	principal.Account
	RootARN      string              `json:"rootArn"`
	RootKeys     int                 `json:"rootKeys"`
	Users        int                 `json:"users"`
	Roles        int                 `json:"roles"`
	Repositories int                 `json:"repositories"` // in all regions that are served
	Organization *organization.Place `json:"organization,omitempty"`
}

// Account describes an account.
func (s Service) Account(ctx context.Context, id name.AccountID) (AccountDetail, error) {
	account, err := s.Principals.Account(ctx, id)
	if err != nil {
		return AccountDetail{}, err
	}
	d := AccountDetail{Account: account, RootARN: principal.RootARN(id)}
	keys, err := s.Credentials.AccessKeys(ctx, id, credential.Owner{}, "", 10)
	if err != nil {
		return AccountDetail{}, err
	}
	d.RootKeys = len(keys)
	for kind, n := range map[entity.Kind]*int{entity.User: &d.Users, entity.Role: &d.Roles} {
		if *n, err = countAll(func(after string) (string, int, error) {
			page, err := s.Entities.List(ctx, id, kind, "/", after, countPage)
			if len(page) > 0 {
				after = page[len(page)-1].Name
			}
			return after, len(page), err
		}); err != nil {
			return AccountDetail{}, err
		}
	}
	for _, region := range append(s.Registries.Regions(), name.Public) {
		n, err := countAll(func(after string) (string, int, error) {
			page, err := s.Repositories.List(ctx, name.Registry{Account: id, Region: region}, name.Repository(after), countPage)
			if len(page) > 0 {
				after = string(page[len(page)-1].Name)
			}
			return after, len(page), err
		})
		if err != nil {
			return AccountDetail{}, err
		}
		d.Repositories += n
	}
	place, found, err := s.Organizations.PlaceOf(ctx, id)
	if found {
		d.Organization = &place
	}
	return d, err
}

// countPage is how many entries are read at once to count them.
const countPage = 1000

// countAll counts what list gives page by page; list returns where the next page
// begins, and how many entries this one has.
func countAll(list func(after string) (next string, n int, err error)) (int, error) {
	sum := 0
	for after := ""; ; {
		next, n, err := list(after)
		if err != nil {
			return 0, err
		}
		sum += n
		if n < countPage {
			return sum, nil
		}
		after = next
	}
}

// OrganizationRequest asks for one change to an organization.
type OrganizationRequest struct {
	// Do is create, delete, attach-account, detach-account, create-unit,
	// delete-unit, put-policy, attach-policy, detach-policy or delete-policy.
	Do string `json:"do"`
	// Organization is an id; "" is the only organization.
	Organization string         `json:"organization,omitempty"`
	Account      name.AccountID `json:"account,omitempty"` // of create, attach-account and detach-account
	Unit         string         `json:"unit,omitempty"`    // a path; "" in attach-account is the root
	Policy       string         `json:"policy,omitempty"`  // a name
	// Document is put-policy's; attach-policy first creates or replaces the policy
	// when it has one.
	Document string `json:"document,omitempty"`
	// Target is root, unit:PATH, or an account.
	Target string `json:"target,omitempty"`
}

// ChangeOrganization carries out one change and returns the organization as it
// then is; after delete only its id.
func (s Service) ChangeOrganization(ctx context.Context, in OrganizationRequest) (organization.Organization, error) {
	id := in.Organization
	switch in.Do {
	case "create", "attach-account", "detach-account":
		if _, err := name.ParseAccountID(string(in.Account)); err != nil {
			return organization.Organization{}, notAnAccount(in.Account)
		}
	}
	if in.Do == "create" {
		return s.Organizations.Create(ctx, in.Account)
	}
	if in.Do == "detach-account" {
		// The account says which organization is meant.
		place, found, err := s.Organizations.PlaceOf(ctx, in.Account)
		if err != nil {
			return organization.Organization{}, err
		}
		if found {
			id = place.ID
		}
	} else {
		o, err := s.Organizations.Get(ctx, id)
		if err != nil {
			return organization.Organization{}, err
		}
		id = o.ID
	}
	var err error
	switch in.Do {
	case "delete":
		return organization.Organization{ID: id}, s.Organizations.Delete(ctx, id)
	case "attach-account":
		err = s.Organizations.AttachAccount(ctx, id, in.Account, in.Unit)
	case "detach-account":
		err = s.Organizations.DetachAccount(ctx, in.Account)
	case "create-unit":
		_, err = s.Organizations.CreateUnit(ctx, id, in.Unit)
	case "delete-unit":
		err = s.Organizations.DeleteUnit(ctx, id, in.Unit)
	case "put-policy":
		_, err = s.Organizations.PutPolicy(ctx, id, in.Policy, in.Document)
	case "attach-policy":
		err = s.Organizations.AttachPolicy(ctx, id, in.Policy, in.Document, in.Target)
	case "detach-policy":
		err = s.Organizations.DetachPolicy(ctx, id, in.Policy, in.Target)
	case "delete-policy":
		err = s.Organizations.DeletePolicy(ctx, id, in.Policy)
	default:
		err = errs.New(errs.InvalidParameter, "unknown change %q to an organization", in.Do)
	}
	if err != nil {
		return organization.Organization{}, err
	}
	return s.Organizations.Get(ctx, id)
}

// Explain decides a question as a request would be, and says why. Without a
// region it is asked in the resource's, else in the default one.
func (s Service) Explain(ctx context.Context, q authz.Question) (authz.Explanation, error) {
	if q.Region == "" {
		if arn, err := name.ParseARN(q.Resource); err == nil {
			q.Region = arn.Region
		}
	}
	if q.Region == "" {
		q.Region = s.Region
	}
	return s.Access.Explain(ctx, q)
}
