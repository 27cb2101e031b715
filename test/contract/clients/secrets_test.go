package clients

import (
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// awscliSecrets keeps credentials of an upstream as docs/secrets.md shows it, and
// makes a rule. The upstream itself is not asked.
func awscliSecrets(t *testing.T, f *fixture) {
	b, cli, refused := awsBox(t, f)
	const name = "ecr-pullthroughcache/cli"
	arn := cli(`aws secretsmanager create-secret --name ` + name + ` --description "of the CLI" --tags Key=team,Value=one \
		--secret-string '{"username": "team", "accessToken": "one"}' --query ARN --output text`)
	if prefix := "arn:aws:secretsmanager:us-east-1:" + f.Account + ":secret:" + name + "-"; !strings.HasPrefix(arn, prefix) || len(arn) != len(prefix)+6 {
		t.Fatalf("the secret's ARN is %s", arn)
	}
	same(t, "the value", cli(`aws secretsmanager get-secret-value --secret-id `+arn+` --query SecretString --output text`), `{"username": "team", "accessToken": "one"}`)
	binary := harness.Random(97, 1000)
	b.Write("binary", binary)
	cli(`aws secretsmanager put-secret-value --secret-id ` + name + ` --secret-binary fileb://binary >/dev/null`)
	cli(`aws secretsmanager get-secret-value --secret-id ` + name + ` --query SecretBinary --output text | base64 -d >read`)
	same(t, "the bytes", harness.Digest(b.Read("read")), harness.Digest(binary))
	same(t, "the value before", cli(`aws secretsmanager get-secret-value --secret-id `+name+` --version-stage AWSPREVIOUS --query SecretString --output text`), `{"username": "team", "accessToken": "one"}`)
	same(t, "describe-secret", cli(`aws secretsmanager describe-secret --secret-id `+name+` --query '[Name,Description,Tags[0].Value]' --output text`), name+"\tof the CLI\tone")
	same(t, "list-secrets", cli(`aws secretsmanager list-secrets --filters Key=name,Values=`+name+` --query 'SecretList[].Name' --output text`), name)

	made := cli(`aws ecr create-pull-through-cache-rule --ecr-repository-prefix cli-quay --upstream-registry-url quay.io --query '[ecrRepositoryPrefix,upstreamRegistryUrl,registryId]' --output text`)
	same(t, "create-pull-through-cache-rule", made, "cli-quay\tquay.io\t"+f.Account)
	same(t, "describe-pull-through-cache-rules", cli(`aws ecr describe-pull-through-cache-rules --ecr-repository-prefixes cli-quay --query 'pullThroughCacheRules[].upstreamRegistryUrl' --output text`), "quay.io")
	if stderr := refused(`aws ecr create-pull-through-cache-rule --ecr-repository-prefix cli-hub --upstream-registry-url registry-1.docker.io`); !strings.Contains(stderr, "(UnsupportedUpstreamRegistryException)") {
		t.Errorf("a rule for Docker Hub without a secret says %s", stderr)
	}
	cli(`aws ecr delete-pull-through-cache-rule --ecr-repository-prefix cli-quay >/dev/null`)

	cli(`aws secretsmanager delete-secret --secret-id ` + name + ` --recovery-window-in-days 7 >/dev/null`)
	if stderr := refused(`aws secretsmanager get-secret-value --secret-id ` + name); !strings.Contains(stderr, "(InvalidRequestException)") {
		t.Errorf("reading a deleted secret says %s", stderr)
	}
	cli(`aws secretsmanager delete-secret --secret-id ` + name + ` --force-delete-without-recovery >/dev/null`)
}
