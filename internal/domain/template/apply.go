package template

import (
	"context"
	"errors"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// service is the AWS service that makes repositories by templates, and whose
	// service-linked role does it where a template names no other.
	service = "ecr.amazonaws.com"
	// sessionName is what it calls its session of the role.
	sessionName = "ecr-template"
)

// Apply makes the repository by the template that holds for it, with all of the
// template's settings; what fails leaves nothing made.
//
// errs.TemplateNotFound when no template holds, errs.RepositoryExists when the
// repository is there, errs.AccessDenied when the role that has to make it cannot,
// errs.KeyFailure for its key, errs.LimitExceeded.
func (s *Service) Apply(ctx context.Context, reg name.Registry, repo name.Repository, trigger Trigger) (repository.Repository, error) {
	t, found, err := s.stored(ctx, reg, repo, trigger)
	if err != nil {
		return repository.Repository{}, err
	}
	if !found {
		return repository.Repository{}, errs.New(errs.TemplateNotFound, "No repository creation template of the registry with id '%s' is for the repository with name '%s'", reg.Account, repo)
	}
	return s.make(ctx, t, repo)
}

// CreateOnPush makes the repository that a push is for and that is not there,
// once may has allowed it, which gets the resource tags that it will have. Of two
// at a time one makes it, and both get it: made says who did.
//
// errs.RepositoryNotFound, without a question to may, when no template is for it;
// else it fails as Apply does.
func (s *Service) CreateOnPush(ctx context.Context, reg name.Registry, repo name.Repository, may func(ctx context.Context, tags map[string]string) error) (r repository.Repository, made bool, err error) {
	t, found, err := s.stored(ctx, reg, repo, CreateOnPush)
	if err != nil {
		return repository.Repository{}, false, err
	}
	if !found {
		return repository.Repository{}, false, repository.NotFound(reg, repo)
	}
	if err := may(ctx, t.Tags); err != nil {
		return repository.Repository{}, false, err
	}
	r, err = s.make(ctx, t, repo)
	if errs.Is(err, errs.RepositoryExists) {
		r, err = s.Repositories.Get(ctx, reg, repo)
		return r, false, err
	}
	return r, err == nil, err
}

// stored is Match with the policy as it is stored.
func (s *Service) stored(ctx context.Context, reg name.Registry, repo name.Repository, trigger Trigger) (t Template, found bool, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		t, found, err = matchTx(ctx, tx, reg, repo, trigger)
		return err
	})
	return t, found, err
}

// make makes the repository by the template as it is stored.
func (s *Service) make(ctx context.Context, t Template, repo name.Repository) (repository.Repository, error) {
	if err := s.authorize(ctx, t, repo); err != nil {
		return repository.Repository{}, because(t, err)
	}
	c := repository.Create{Registry: t.Registry, Name: repo, Mutability: t.Mutability, Encryption: t.Encryption, Tags: t.Tags, Policy: t.Policy}
	if t.Lifecycle != "" {
		c.After = func(ctx context.Context, tx *sqldb.Tx, made repository.Repository) error {
			return s.PutLifecycleTx(ctx, tx, made, t.Lifecycle)
		}
	}
	r, err := s.Repositories.Create(ctx, c)
	if err != nil && !errs.Is(err, errs.RepositoryExists) {
		return repository.Repository{}, because(t, err)
	}
	return r, err
}

// because says in a failure which template could not be followed.
func because(t Template, err error) error {
	var e *errs.Error
	if !errors.As(err, &e) {
		return err
	}
	told := *e
	told.Message = "The repository cannot be created by the repository creation template with the prefix '" + t.Prefix + "': " + e.Message
	return &told
}

// authorize asks whether the role that is to make the repository may. The
// service-linked role may make plain repositories only: for resource tags and for
// keys of KMS the template needs a role of its own (ECR user guide, "Creating a
// repository creation template"). The key aws/ecr is the account's for ECR, and a
// role that may make the repository may use it.
func (s *Service) authorize(ctx context.Context, t Template, repo name.Repository) error {
	role, arn := t.CustomRole, t.Registry.RepositoryARN(repo)
	if role == "" {
		what := ""
		switch {
		case len(t.Tags) > 0:
			what = "resource tags"
		case t.Encryption.Type == repository.KMS:
			what = "encryption with KMS"
		}
		if what != "" {
			return errs.New(errs.AccessDenied, "It has %s and no custom role. Give it a customRoleArn.", what)
		}
		linked, err := s.Entities.EnsureServiceRole(ctx, t.Registry.Account, service)
		if err != nil {
			return err
		}
		role = linked.ARN()
	}
	given := authz.TagContext(t.Tags)
	needs := []authz.Need{{Action: "ecr:CreateRepository", Resource: arn, Context: given}}
	if len(t.Tags) > 0 {
		needs = append(needs, authz.Need{Action: "ecr:TagResource", Resource: arn, Context: given})
	}
	if key, err := name.ParseARN(t.Encryption.KMSKey); err == nil {
		for _, action := range []string{"kms:CreateGrant", "kms:DescribeKey", "kms:RetireGrant"} {
			needs = append(needs, authz.Need{Action: action, Resource: key, Context: map[string][]string{"kms:viaservice": {"ecr." + string(t.Registry.Region) + ".amazonaws.com"}}})
		}
	}
	return s.Access.AuthorizeService(ctx, authz.ServiceRole{
		Service: service, Role: role, Session: sessionName, Source: arn, Region: t.Registry.Region, Needs: needs,
	})
}
