package oci

import (
	"context"
	"errors"

	"github.com/berth-registry/berth/internal/api/oci/problem"
	"github.com/berth-registry/berth/internal/api/oci/trail"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Templates makes repositories that a push does not find; *template.Service does.
type Templates interface {
	// CreateOnPush makes the repository if a template is for it, once may has
	// allowed it, which gets the resource tags that the repository will have. made
	// is false where another push was quicker. errs.RepositoryNotFound, without a
	// question to may, when there is no template.
	CreateOnPush(ctx context.Context, reg name.Registry, repo name.Repository, may func(ctx context.Context, tags map[string]string) error) (r repository.Repository, made bool, err error)
}

// createOnPush makes the repository of a push that has not found it, if a template
// is for it and the caller may make repositories (ECR user guide, "repository
// creation templates"); else it returns an error, notFound where there is no
// template.
//
// By now the caller has all that the row needs, and so may push to the repository
// once it is there. Who has that and not ecr:CreateRepository is told so, with
// AWS's sentence: a 404 would send people to look for a template that is there.
// Nobody else can tell by the answer whether there is one.
func (a *API) createOnPush(ctx context.Context, c *call, notFound error) error {
	if a.c.Templates == nil {
		return notFound
	}
	r, made, err := a.c.Templates.CreateOnPush(ctx, c.registry, c.repo, func(ctx context.Context, tags map[string]string) error {
		return a.authorize(ctx, c, []authz.Need{{Action: "ecr:CreateRepository", Resource: c.registry.RepositoryARN(c.repo), Context: authz.TagContext(tags)}})
	})
	switch {
	case errs.Is(err, errs.RepositoryNotFound):
		return notFound
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return err
	case err != nil || made:
		a.recordCreation(ctx, c, r, err)
	}
	c.repository = r
	return err
}

// recordCreation writes the audit entry of a repository that ECR makes for the
// caller, made or not.
func (a *API) recordCreation(ctx context.Context, c *call, r repository.Repository, err error) {
	e := a.entry(c, "CreateRepository")
	e.InvokedBy = e.EventSource
	if err != nil {
		p := problem.Of(err, c.Kind, a.c.Quirks, c.requestID)
		e.ErrorCode, e.ErrorMessage = p.Code, p.Message
	}
	trail.Fill(a.c.Log, &e, map[string]any{"registryId": c.registry.Account, "repositoryName": c.repo}, trail.Created(r, c.base))
	a.c.Audit.Record(context.WithoutCancel(ctx), e)
}
