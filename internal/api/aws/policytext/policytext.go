// Package policytext reads the resource policies that calls of the ECR APIs bring,
// and words what is wrong with them as ECR does.
//
// It does not own the policy language (domain/policy), nor where policies are
// kept.
package policytext

import (
	"errors"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

// Parse reads a resource policy: only actions of the service, "ecr" or "ecr-public",
// can stand in it. what is "repository" or "registry", for the text of a failure.
func Parse(service, text string, grammar policy.Grammar, what string) (*policy.Document, error) {
	d, err := policy.Parse(text, grammar)
	if err != nil {
		return nil, Failure(err, what)
	}
	for _, action := range d.Actions() {
		if action != "*" && !policy.MatchAction(service+":*", action) {
			return nil, Failure(&policy.SyntaxError{Message: "the action " + action + " is none of " + service + "'s"}, what)
		}
	}
	return d, nil
}

// Failure words a policy that cannot be set as ECR does, which does not say what
// is wrong with it; the cause goes to the log. Other errors stay as they are.
func Failure(err error, what string) error {
	var syntax *policy.SyntaxError
	var unknown *entity.UnknownPrincipal
	switch {
	case errors.As(err, &unknown):
		return errs.Parameter("PolicyText", "Principal not found")
	case errors.As(err, &syntax):
		e := errs.Parameter("PolicyText", "Invalid "+what+" policy provided")
		e.Cause = err
		return e
	}
	return err
}
