// Package awsclient is how the sinks that speak to AWS, or to what speaks its protocols,
// reach it: endpoint, region, credentials, and what their failures mean.
//
// It does not own the calls themselves (sqs, sns, eventbridge).
package awsclient

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go"

	"github.com/berth-registry/berth/internal/infra/eventsink"
)

// Timeout bounds a call, so that a silent server does not hold a stream up.
const Timeout = 30 * time.Second

// Settings are what all have.
type Settings struct {
	// Region is the target's; "" takes that of its ARN.
	Region string
	// Endpoint is the service's URL, "" for AWS's own.
	Endpoint string
	// AccessKeyID, SecretAccessKey and SessionToken are fixed credentials. Without the
	// first two the AWS SDK looks where it always does: environment, shared files, the
	// machine's role.
	AccessKeyID, SecretAccessKey, SessionToken string
}

// Target is an ARN, taken apart.
type Target struct{ Partition, Service, Region, Account, Resource string }

var arnForm = regexp.MustCompile(`^arn:(aws[a-z-]*):([a-z-]+):([a-z0-9-]+):([0-9]{12}):([^\s:]+)$`)

// Parse reads the ARN of a target of a service.
func Parse(arn, service, example string) (Target, error) {
	p := arnForm.FindStringSubmatch(arn)
	if p == nil || p[2] != service {
		return Target{}, fmt.Errorf("%q is no ARN of %s; take one such as %s", arn, service, example)
	}
	return Target{p[1], p[2], p[3], p[4], p[5]}, nil
}

// Load makes the SDK's configuration. Each call is tried once: who sends again, and
// when, is decided above.
func Load(s Settings, t Target) (aws.Config, error) {
	if s.Endpoint != "" {
		if u, err := url.Parse(s.Endpoint); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
			return aws.Config{}, errors.New("the endpoint is no URL; take one such as https://sqs.example.com")
		}
	}
	if (s.AccessKeyID == "") != (s.SecretAccessKey == "") || s.SessionToken != "" && s.AccessKeyID == "" {
		return aws.Config{}, errors.New("an access key is an id and a secret; give both or neither")
	}
	if s.Region == "" {
		s.Region = t.Region
	}
	// Only files and the environment are read here, so there is nothing to cancel.
	if s.AccessKeyID != "" {
		return base(aws.Config{Region: s.Region, Credentials: credentials.NewStaticCredentialsProvider(s.AccessKeyID, s.SecretAccessKey, s.SessionToken)}, s), nil
	}
	c, err := config.LoadDefaultConfig(context.Background(), config.WithRegion(s.Region))
	if err != nil {
		return aws.Config{}, fmt.Errorf("the AWS SDK's own configuration: %w", err)
	}
	return base(c, s), nil
}

func base(c aws.Config, s Settings) aws.Config {
	c.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	if s.Endpoint != "" {
		c.BaseEndpoint = aws.String(strings.TrimSuffix(s.Endpoint, "/"))
	}
	return c
}

// Failed words a failed call. Failures with one of the codes are the message's own
// fault, and permanent; the others may be mended at the target.
func Failed(what string, err error, permanent ...string) error {
	if err == nil {
		return nil
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return fmt.Errorf("%s: %w", what, err)
	}
	worded := fmt.Errorf("%s: %s: %s", what, api.ErrorCode(), api.ErrorMessage())
	if slices.Contains(permanent, api.ErrorCode()) {
		return eventsink.Permanent(worded)
	}
	return worded
}
