package sts

import (
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/session"
)

// MessageDecoder opens encoded authorization messages of an account; authz.Service
// does. One that is none of the account's is an errs.AuthorizationMessage.
type MessageDecoder interface {
	DecodeMessage(account name.AccountID, encoded string) (json string, err error)
}

// Config is what the API stands on. Everything is needed to serve it.
type Config struct {
	Sessions   *session.Service
	Principals *principal.Service
	Messages   MessageDecoder
}

// API holds the operations.
type API struct {
	Config
}

// New returns the API.
func New(c Config) *API { return &API{Config: c} }

// needsNoResource makes the Needs of an operation without a resource type.
func needsNoResource[I any](action string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(*aws.Call, *I) ([]authz.Need, error) { return []authz.Need{{Action: action}}, nil }
}

// text is an optional member; "" where it is absent.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// optional leaves an empty member out.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func seconds(n *int64) time.Duration {
	if n == nil {
		return 0
	}
	return time.Duration(*n) * time.Second
}

func boundsOf(policy *string, arns []PolicyDescriptorType) session.Bounds {
	b := session.Bounds{Policy: text(policy)}
	for _, a := range arns {
		b.PolicyARNs = append(b.PolicyARNs, text(a.Arn))
	}
	return b
}

func tagsOf(in []Tag) []session.Tag {
	var tags []session.Tag
	for _, t := range in {
		tags = append(tags, session.Tag{Key: *t.Key, Value: *t.Value})
	}
	return tags
}

func credentialsShape(c principal.Credentials) *Credentials {
	return &Credentials{
		AccessKeyId: new(c.AccessKeyID), SecretAccessKey: new(c.Secret), SessionToken: new(c.SessionToken), Expiration: shape.At(c.Expires),
	}
}

func assumedShape(p principal.Principal) *AssumedRoleUser {
	return &AssumedRoleUser{AssumedRoleId: new(p.ID), Arn: new(p.ARN)}
}

// packedShape is left out when nothing was passed.
func packedShape(percent int) *int64 {
	if percent == 0 {
		return nil
	}
	return new(int64(percent))
}
