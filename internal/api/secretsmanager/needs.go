package secretsmanager

import (
	"context"
	"maps"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/secret"
)

// The condition keys are those of the service authorization reference, "AWS Secrets
// Manager", that these operations have.

func createNeeds(c *aws.Call, in *CreateSecretInput) ([]authz.Need, error) {
	arn := secret.UnmadeARN(c.Registry, *in.Name)
	given := authz.TagContext(tagsOf(in.Tags))
	keys := maps.Clone(given)
	keys["secretsmanager:name"] = []string{*in.Name}
	put(keys, "secretsmanager:description", in.Description)
	put(keys, "secretsmanager:kmskeyid", in.KmsKeyId)
	needs := []authz.Need{{Action: "secretsmanager:CreateSecret", Resource: arn, Context: keys}}
	if len(in.Tags) > 0 {
		needs = append(needs, authz.Need{Action: "secretsmanager:TagResource", Resource: arn, Context: given})
	}
	return needs, nil
}

func listNeeds(*aws.Call, *ListSecretsInput) ([]authz.Need, error) {
	return []authz.Need{{Action: "secretsmanager:ListSecrets"}}, nil
}

func (a *API) putNeeds(c *aws.Call, in *PutSecretValueInput) ([]authz.Need, error) {
	return a.onSecret(c, "secretsmanager:PutSecretValue", *in.SecretId, nil)
}

func (a *API) getNeeds(c *aws.Call, in *GetSecretValueInput) ([]authz.Need, error) {
	keys := map[string][]string{}
	put(keys, "secretsmanager:versionid", in.VersionId)
	put(keys, "secretsmanager:versionstage", in.VersionStage)
	if in.VersionId == nil && in.VersionStage == nil {
		keys["secretsmanager:versionstage"] = []string{secret.Current}
	}
	return a.onSecret(c, "secretsmanager:GetSecretValue", *in.SecretId, keys)
}

func (a *API) describeNeeds(c *aws.Call, in *DescribeSecretInput) ([]authz.Need, error) {
	return a.onSecret(c, "secretsmanager:DescribeSecret", *in.SecretId, nil)
}

func (a *API) deleteNeeds(c *aws.Call, in *DeleteSecretInput) ([]authz.Need, error) {
	keys := map[string][]string{"secretsmanager:forcedeletewithoutrecovery": {strconv.FormatBool(is(in.ForceDeleteWithoutRecovery))}}
	if in.RecoveryWindowInDays != nil {
		keys["secretsmanager:recoverywindowindays"] = []string{strconv.FormatInt(*in.RecoveryWindowInDays, 10)}
	}
	return a.onSecret(c, "secretsmanager:DeleteSecret", *in.SecretId, keys)
}

// onSecret asks for an action on the secret that an input calls by its name or ARN.
// One that is not there is asked for as well, so that strangers do not learn which
// there are.
func (a *API) onSecret(c *aws.Call, action, id string, keys map[string][]string) ([]authz.Need, error) {
	if keys == nil {
		keys = map[string][]string{}
	}
	found, err := a.Secrets.Find(context.Background(), c.Registry, id)
	if errs.Is(err, errs.SecretMissing) {
		arn := secret.UnmadeARN(c.Registry, id)
		if named, err := name.ParseARN(id); err == nil && named.Service == "secretsmanager" {
			arn = named
		}
		keys["secretsmanager:secretid"] = []string{arn.String()}
		return []authz.Need{{Action: action, Resource: arn, Context: keys}}, nil
	}
	if err != nil {
		return nil, err
	}
	keys["secretsmanager:secretid"] = []string{found.ARN().String()}
	for k, v := range found.Tags {
		keys["aws:resourcetag/"+strings.ToLower(k)] = []string{v}
		keys["secretsmanager:resourcetag/"+strings.ToLower(k)] = []string{v}
	}
	return []authz.Need{{Action: action, Resource: found.ARN(), Context: keys}}, nil
}

func put(keys map[string][]string, key string, value *string) {
	if value != nil {
		keys[key] = []string{*value}
	}
}
