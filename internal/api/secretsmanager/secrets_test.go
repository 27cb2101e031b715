package secretsmanager_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/api/secretsmanager"
	"github.com/berth-registry/berth/internal/domain/errs"
)

// The table can be described without anything behind it.
func TestServiceWithoutConfig(t *testing.T) {
	s := secretsmanager.New(secretsmanager.Config{}).Service()
	var built []string
	for _, op := range s.Operations {
		built = append(built, op.Name)
	}
	if want := []string{"CreateSecret", "PutSecretValue", "GetSecretValue", "DescribeSecret", "ListSecrets", "DeleteSecret"}; !slices.Equal(built, want) {
		t.Error(built)
	}
	for code := errs.Internal; code <= errs.Unavailable; code++ {
		if named, status := s.Errors(code); named == "" || status < 400 {
			t.Errorf("code %d: %q %d", code, named, status)
		}
	}
}

const (
	token = "0123456789abcdef0123456789abcdef"
	next  = "fedcba9876543210fedcba9876543210"
)

func TestSecrets(t *testing.T) {
	w := newWorld(t)
	root := w.root(account)
	made := root.succeed("CreateSecret", object{
		"Name": "ecr-pullthroughcache/hub", "Description": "of Docker Hub", "SecretString": "sesame-one", "ClientRequestToken": token,
		"Tags": []object{{"Key": "team", "Value": "blue"}, {"Key": "a"}},
	})
	arn, _ := made["ARN"].(string)
	if !strings.HasPrefix(arn, "arn:aws:secretsmanager:eu-test-1:111111111111:secret:ecr-pullthroughcache/hub-") ||
		!reflect.DeepEqual(made, object{"ARN": arn, "Name": "ecr-pullthroughcache/hub", "VersionId": token}) {
		t.Errorf("%v", made)
	}
	want := object{"ARN": arn, "Name": "ecr-pullthroughcache/hub", "VersionId": token, "SecretString": "sesame-one", "VersionStages": []any{"AWSCURRENT"}}
	for _, id := range []string{arn, arn[:len(arn)-7], "ecr-pullthroughcache/hub"} {
		got := root.succeed("GetSecretValue", object{"SecretId": id})
		if at, ok := got["CreatedDate"].(float64); !ok || at < 1.7e9 {
			t.Errorf("created %v", got["CreatedDate"])
		}
		delete(got, "CreatedDate")
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", id, got)
		}
	}
	put := root.succeed("PutSecretValue", object{"SecretId": arn, "SecretBinary": "c2VzYW1l/w==", "ClientRequestToken": next, "VersionStages": []string{"AWSCURRENT", "blue"}})
	if !reflect.DeepEqual(put, object{"ARN": arn, "Name": "ecr-pullthroughcache/hub", "VersionId": next, "VersionStages": []any{"AWSCURRENT", "blue"}}) {
		t.Errorf("%v", put)
	}
	if got := root.succeed("GetSecretValue", object{"SecretId": arn, "VersionStage": "blue"}); got["SecretBinary"] != "c2VzYW1l/w==" || got["SecretString"] != nil {
		t.Errorf("%v", got)
	}
	if got := root.succeed("GetSecretValue", object{"SecretId": arn, "VersionId": token}); got["SecretString"] != "sesame-one" {
		t.Errorf("%v", got)
	}
	stages := object{token: []any{"AWSPREVIOUS"}, next: []any{"AWSCURRENT", "blue"}}
	tags := []any{object{"Key": "a", "Value": ""}, object{"Key": "team", "Value": "blue"}}
	described := root.succeed("DescribeSecret", object{"SecretId": arn})
	listed := root.succeed("ListSecrets", object{})["SecretList"].([]any)
	for what, c := range map[string]struct {
		got    object
		stages string
	}{"described": {described, "VersionIdsToStages"}, "listed": {listed[0].(object), "SecretVersionsToStages"}} {
		for _, at := range []string{"CreatedDate", "LastChangedDate", "LastAccessedDate"} {
			if n, ok := c.got[at].(float64); !ok || n < 1.7e9 {
				t.Errorf("%s: %s is %v", what, at, c.got[at])
			}
			delete(c.got, at)
		}
		if want := (object{"ARN": arn, "Name": "ecr-pullthroughcache/hub", "Description": "of Docker Hub", "Tags": tags, c.stages: stages}); !reflect.DeepEqual(c.got, want) {
			t.Errorf("%s: %v", what, c.got)
		}
	}

	gone := root.succeed("DeleteSecret", object{"SecretId": arn, "RecoveryWindowInDays": 7})
	if !slices.Equal(slices.Sorted(maps.Keys(gone)), []string{"ARN", "DeletionDate", "Name"}) {
		t.Errorf("%v", gone)
	}
	root.refused("GetSecretValue", object{"SecretId": arn}, "InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
	if got := root.succeed("DescribeSecret", object{"SecretId": arn}); got["DeletedDate"] != gone["DeletionDate"] {
		t.Errorf("%v, deleted %v", got, gone)
	}
	if got := root.succeed("ListSecrets", object{}); !reflect.DeepEqual(got, object{"SecretList": []any{}}) {
		t.Errorf("%v", got)
	}
	if got := root.succeed("ListSecrets", object{"IncludePlannedDeletion": true}); len(got["SecretList"].([]any)) != 1 {
		t.Errorf("%v", got)
	}
	root.succeed("DeleteSecret", object{"SecretId": arn, "ForceDeleteWithoutRecovery": true})
	root.refused("DescribeSecret", object{"SecretId": arn}, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")

	// Values come to the caller, and nowhere else.
	if text := w.recorded(); strings.Contains(text, "sesame") || strings.Contains(text, "c2VzYW1l") || !strings.Contains(text, "HIDDEN_DUE_TO_SECURITY_REASONS") {
		t.Error(text)
	}
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	root := w.root(account)
	for _, n := range []string{"c", "a", "b", "e", "d"} {
		root.succeed("CreateSecret", object{"Name": n})
	}
	for order, in := range map[string]object{
		"c a b e d": {}, "e d c b a": {"SortBy": "name", "SortOrder": "desc"}, "a b c d e": {"SortBy": "name", "SortOrder": "asc"}, "b d": {"Filters": []object{{"Key": "name", "Values": []string{"b", "d"}}}},
	} {
		var got []string
		for {
			in["MaxResults"] = 2
			out := root.succeed("ListSecrets", in)
			for _, s := range out["SecretList"].([]any) {
				got = append(got, s.(object)["Name"].(string))
			}
			if in["NextToken"] = out["NextToken"]; out["NextToken"] == nil {
				break
			}
		}
		if strings.Join(got, " ") != order {
			t.Errorf("%v, want %s", got, order)
		}
	}
	for _, bad := range []string{"x", "e30", "***"} {
		root.refused("ListSecrets", object{"NextToken": bad}, "InvalidNextTokenException", "The NextToken value is invalid.")
	}
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	root := w.root(account)
	root.succeed("CreateSecret", object{"Name": "one", "SecretString": "sesame"})
	const invalid = "InvalidParameterException"
	for _, c := range []struct {
		op            string
		in            object
		code, message string
	}{
		{"CreateSecret", object{}, "InvalidParameterException", ""},
		{"CreateSecret", object{"Name": "a b"}, "ValidationException", "Invalid name."},
		{"CreateSecret", object{"Name": "one"}, "ResourceExistsException", "The operation failed because the secret one already exists."},
		{"CreateSecret", object{"Name": "two", "SecretString": "x", "SecretBinary": "eA=="}, invalid, "You can't specify both a binary secret value and a string secret value in the same secret."},
		{"CreateSecret", object{"Name": "two", "KmsKeyId": "alias/none"}, "EncryptionFailure", "Secrets Manager can't encrypt the protected secret text using the provided KMS key."},
		{"CreateSecret", object{"Name": "two", "AddReplicaRegions": []object{{"Region": "us-east-1"}}}, invalid, "Secrets are not replicated here."},
		{"CreateSecret", object{"Name": "two", "Type": "x"}, invalid, "Secrets of a type"},
		{"CreateSecret", object{"Name": "two", "Tags": []object{{"Key": "k"}, {"Key": "k"}}}, invalid, "Each tag needs a key"},
		{"CreateSecret", object{"Name": "two", "Tags": []object{{"Value": "k"}}}, invalid, "Each tag needs a key"},
		{"CreateSecret", object{"Name": "two", "ClientRequestToken": "short"}, invalid, ""},
		{"PutSecretValue", object{"SecretId": "one"}, invalid, "You must provide either SecretString or SecretBinary."},
		{"PutSecretValue", object{"SecretId": "one", "SecretString": "x", "RotationToken": token + next}, invalid, "Secrets are not rotated here."},
		{"PutSecretValue", object{"SecretId": "none", "SecretString": "x"}, "ResourceNotFoundException", "Secrets Manager can't find the specified secret."},
		{"GetSecretValue", object{"SecretId": "one", "VersionStage": "blue"}, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: blue"},
		{"GetSecretValue", object{"SecretId": strings.Repeat("x", 2049)}, invalid, ""},
		{"DeleteSecret", object{"SecretId": "one", "RecoveryWindowInDays": 6}, invalid, "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."},
		{"ListSecrets", object{"Filters": []object{{"Key": "name"}}}, invalid, "A filter needs a key and a value."},
		{"ListSecrets", object{"SortBy": "size"}, invalid, ""},
	} {
		root.refused(c.op, c.in, c.code, c.message)
	}
	w.root(other).refused("GetSecretValue", object{"SecretId": "one"}, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	arn := root.succeed("DescribeSecret", object{"SecretId": "one"})["ARN"]
	w.root(other).refused("GetSecretValue", object{"SecretId": arn}, "AccessDeniedException", "")

	key, err := w.keys.Create(t.Context(), string(account), string(region), "alias/aws/secretsmanager")
	w.must(err)
	_, err = w.keys.SetEnabled(t.Context(), key.ID, false)
	w.must(err)
	root.refused("GetSecretValue", object{"SecretId": "one"}, "DecryptionFailure", "Secrets Manager can't decrypt the protected secret text using the provided KMS key.")
	root.refused("PutSecretValue", object{"SecretId": "one", "SecretString": "x"}, "EncryptionFailure", "Secrets Manager can't encrypt the protected secret text using the provided KMS key.")
	if text := w.recorded(); strings.Contains(text, "sesame") {
		t.Error(text)
	}
}

// TestPermissions: which statements of a policy let what be done.
func TestPermissions(t *testing.T) {
	w := newWorld(t)
	root := w.root(account)
	for _, n := range []string{"prod/db", "dev/db"} {
		root.succeed("CreateSecret", object{"Name": n, "SecretString": "sesame", "Tags": []object{{"Key": "Stage", "Value": n[:strings.Index(n, "/")]}}})
	}
	prod := w.user("prod", `{"Effect":"Allow","Action":"secretsmanager:*","Resource":"arn:aws:secretsmanager:*:*:secret:prod/*"}`)
	exact := w.user("exact", `{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:*:secret:prod/db-??????"}`)
	current := w.user("current", `{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"secretsmanager:VersionStage":"AWSCURRENT"}}}`)
	tagged := w.user("tagged", `{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*","Condition":{"StringEquals":{"secretsmanager:ResourceTag/Stage":"dev","aws:ResourceTag/Stage":"dev"}}}`)
	maker := w.user("maker", `{"Effect":"Allow","Action":["secretsmanager:CreateSecret","secretsmanager:DeleteSecret"],"Resource":"*","Condition":{"StringLikeIfExists":{"secretsmanager:Name":"own/*"},"BoolIfExists":{"secretsmanager:ForceDeleteWithoutRecovery":"false"}}}`)
	lister := w.user("lister", `{"Effect":"Allow","Action":"secretsmanager:ListSecrets","Resource":"*"}`)

	get := func(id string) object { return object{"SecretId": id} }
	prod.succeed("GetSecretValue", get("prod/db"))
	prod.succeed("CreateSecret", object{"Name": "prod/new", "Tags": []object{{"Key": "a", "Value": "b"}}})
	exact.succeed("GetSecretValue", get("prod/db"))
	current.succeed("GetSecretValue", get("prod/db"))
	tagged.succeed("GetSecretValue", get("dev/db"))
	maker.succeed("CreateSecret", object{"Name": "own/one"})
	lister.succeed("ListSecrets", object{})

	for _, c := range []struct {
		who caller
		op  string
		in  object
	}{
		{prod, "GetSecretValue", get("dev/db")}, {prod, "DeleteSecret", get("dev/db")}, {prod, "CreateSecret", object{"Name": "dev/new"}}, {prod, "ListSecrets", object{}},
		{prod, "DescribeSecret", get("none")}, // whether it is there is not told
		{exact, "GetSecretValue", get("dev/db")}, {exact, "PutSecretValue", object{"SecretId": "prod/db", "SecretString": "sesame"}},
		{current, "GetSecretValue", object{"SecretId": "prod/db", "VersionStage": "AWSPREVIOUS"}}, {current, "GetSecretValue", object{"SecretId": "prod/db", "VersionId": token}},
		{tagged, "GetSecretValue", get("prod/db")},
		{maker, "CreateSecret", object{"Name": "other/one"}}, {maker, "CreateSecret", object{"Name": "own/two", "Tags": []object{{"Key": "a", "Value": "b"}}}},
		{maker, "DeleteSecret", object{"SecretId": "own/one", "ForceDeleteWithoutRecovery": true}},
		{lister, "DescribeSecret", get("prod/db")},
	} {
		c.who.refused(c.op, c.in, "AccessDeniedException", "User: arn:aws:iam::111111111111:user/")
	}
	prod.refused("DescribeSecret", get("prod/none"), "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	maker.succeed("DeleteSecret", get("own/one"))
}
