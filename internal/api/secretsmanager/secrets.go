package secretsmanager

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/secret"
)

func (a *API) createSecret(ctx context.Context, c *aws.Call, in *CreateSecretInput) (*CreateSecretOutput, error) {
	switch {
	case len(in.AddReplicaRegions) > 0:
		return nil, errs.New(errs.InvalidParameter, "Secrets are not replicated here. Leave AddReplicaRegions out and create the secret in each region.")
	case text(in.Type) != "":
		return nil, errs.New(errs.InvalidParameter, "Secrets of a type, which others rotate, are not served here. Leave Type out.")
	}
	content, err := contentOf(in.SecretString, in.SecretBinary)
	if err != nil {
		return nil, err
	}
	tags := tagsOf(in.Tags)
	if len(tags) != len(in.Tags) {
		return nil, errs.New(errs.InvalidParameter, "Each tag needs a key that no other one of the request has.")
	}
	made, version, err := a.Secrets.Create(ctx, secret.Create{
		Home: c.Registry, Name: *in.Name, Description: text(in.Description), KMSKey: text(in.KmsKeyId), Tags: tags, Token: text(in.ClientRequestToken), Content: content,
	})
	if err != nil {
		return nil, err
	}
	return &CreateSecretOutput{ARN: arn(made), Name: &made.Name, VersionId: optional(version)}, nil
}

func (a *API) putSecretValue(ctx context.Context, c *aws.Call, in *PutSecretValueInput) (*PutSecretValueOutput, error) {
	if in.RotationToken != nil {
		return nil, errs.New(errs.InvalidParameter, "Secrets are not rotated here. Leave RotationToken out.")
	}
	content, err := contentOf(in.SecretString, in.SecretBinary)
	if err != nil {
		return nil, err
	}
	if content == nil {
		return nil, errs.New(errs.InvalidParameter, "You must provide either SecretString or SecretBinary.")
	}
	of, v, err := a.Secrets.Put(ctx, c.Registry, *in.SecretId, text(in.ClientRequestToken), *content, in.VersionStages)
	if err != nil {
		return nil, err
	}
	return &PutSecretValueOutput{ARN: arn(of), Name: &of.Name, VersionId: &v.ID, VersionStages: v.Labels}, nil
}

func (a *API) getSecretValue(ctx context.Context, c *aws.Call, in *GetSecretValueInput) (*GetSecretValueOutput, error) {
	of, v, err := a.Secrets.Get(ctx, c.Registry, *in.SecretId, secret.Which{ID: text(in.VersionId), Label: text(in.VersionStage)})
	if err != nil {
		return nil, err
	}
	out := &GetSecretValueOutput{ARN: arn(of), Name: &of.Name, VersionId: &v.ID, VersionStages: v.Labels, CreatedDate: shape.At(v.CreatedAt)}
	if v.Binary {
		out.SecretBinary = v.Data
	} else {
		out.SecretString = new(string(v.Data))
	}
	return out, nil
}

func (a *API) describeSecret(ctx context.Context, c *aws.Call, in *DescribeSecretInput) (*DescribeSecretOutput, error) {
	s, err := a.Secrets.Find(ctx, c.Registry, *in.SecretId)
	if err != nil {
		return nil, err
	}
	return &DescribeSecretOutput{
		ARN: arn(s), Name: &s.Name, Description: optional(s.Description), KmsKeyId: optional(s.KMSKey),
		CreatedDate: shape.At(s.CreatedAt), LastChangedDate: shape.At(s.ChangedAt), LastAccessedDate: shape.AtNonZero(s.UsedOn), DeletedDate: shape.AtNonZero(s.EndsAt),
		Tags: tagsShape(s.Tags), VersionIdsToStages: labels(s),
	}, nil
}

// defaultPage is how many secrets a page has that asks for no number; the API names
// none.
const defaultPage = 100

func (a *API) listSecrets(ctx context.Context, c *aws.Call, in *ListSecretsInput) (*ListSecretsOutput, error) {
	l := secret.Listing{Limit: defaultPage, Deleted: is(in.IncludePlannedDeletion), Order: secret.Created, Descending: in.SortOrder != nil && *in.SortOrder == SortOrderTypeDesc}
	if in.MaxResults != nil {
		l.Limit = int(*in.MaxResults)
	}
	if in.SortBy != nil {
		l.Order = secret.Order(*in.SortBy)
	}
	for _, f := range in.Filters {
		if f.Key == nil || len(f.Values) == 0 {
			return nil, errs.New(errs.InvalidParameter, "A filter needs a key and a value.")
		}
		l.Filters = append(l.Filters, secret.Filter{Key: secret.FilterKey(*f.Key), Values: f.Values})
	}
	if in.NextToken != nil {
		raw, err := base64.RawURLEncoding.DecodeString(*in.NextToken)
		if err != nil || json.Unmarshal(raw, &l.After) != nil || l.After == (secret.Cursor{}) {
			return nil, errs.New(errs.InvalidInput, "The NextToken value is invalid.")
		}
	}
	page, more, err := a.Secrets.List(ctx, c.Registry, l)
	if err != nil {
		return nil, err
	}
	out := &ListSecretsOutput{SecretList: []SecretListEntry{}}
	for _, s := range page {
		out.SecretList = append(out.SecretList, SecretListEntry{
			ARN: arn(s), Name: &s.Name, Description: optional(s.Description), KmsKeyId: optional(s.KMSKey),
			CreatedDate: shape.At(s.CreatedAt), LastChangedDate: shape.At(s.ChangedAt), LastAccessedDate: shape.AtNonZero(s.UsedOn), DeletedDate: shape.AtNonZero(s.EndsAt),
			Tags: tagsShape(s.Tags), SecretVersionsToStages: labels(s),
		})
	}
	if more {
		raw, err := json.Marshal(l.Cursor(page[len(page)-1]))
		if err != nil {
			return nil, err
		}
		out.NextToken = new(base64.RawURLEncoding.EncodeToString(raw))
	}
	return out, nil
}

func (a *API) deleteSecret(ctx context.Context, c *aws.Call, in *DeleteSecretInput) (*DeleteSecretOutput, error) {
	gone, err := a.Secrets.Delete(ctx, c.Registry, *in.SecretId, in.RecoveryWindowInDays, is(in.ForceDeleteWithoutRecovery))
	if err != nil {
		return nil, err
	}
	return &DeleteSecretOutput{ARN: arn(gone), Name: &gone.Name, DeletionDate: shape.At(gone.EndsAt)}, nil
}

func arn(s secret.Secret) *string { return new(s.ARN().String()) }

func is(b *bool) bool { return b != nil && *b }

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

// contentOf is the value in a request, nil for none.
func contentOf(s *string, b []byte) (*secret.Content, error) {
	switch {
	case s != nil && b != nil:
		return nil, errs.New(errs.InvalidParameter, "You can't specify both a binary secret value and a string secret value in the same secret.")
	case s != nil:
		return &secret.Content{Data: []byte(*s)}, nil
	case b != nil:
		return &secret.Content{Binary: true, Data: b}, nil
	}
	return nil, nil
}

// tagsOf leaves out what has no key; a value that is absent is "".
func tagsOf(in []Tag) map[string]string {
	tags := map[string]string{}
	for _, t := range in {
		if t.Key != nil {
			tags[*t.Key] = text(t.Value)
		}
	}
	return tags
}

func tagsShape(tags map[string]string) []Tag {
	var out []Tag
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, Tag{Key: new(k), Value: new(tags[k])})
	}
	return out
}

// labels are left out where there is none.
func labels(s secret.Secret) map[string][]string {
	if len(s.Labels) == 0 {
		return nil
	}
	return s.Labels
}
