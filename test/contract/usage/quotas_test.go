package usage

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/test/contract/harness"
)

// repositoriesCode is AWS's code of the quota "Registered repositories".
const repositoriesCode = "L-CFEB8E8D"

// quotaShape and changeShape are what the CLI prints of a quota and of a request.
type quotaShape struct {
	ServiceCode, ServiceName, QuotaArn, QuotaCode, QuotaName, Unit string
	Value                                                          float64
	Adjustable, GlobalQuota                                        bool
	UsageMetric                                                    struct {
		MetricNamespace, MetricName, MetricStatisticRecommendation string
		MetricDimensions                                           map[string]string
	}
	Period struct {
		PeriodValue int
		PeriodUnit  string
	}
}

type changeShape struct {
	ID, ServiceCode, QuotaCode, QuotaName, Status, Requester, QuotaArn, Unit string
	DesiredValue                                                             float64
}

// TestQuotas: an account looks at its quotas, asks for more, and has it once an operator
// approves.
func TestQuotas(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Config: "limits: {repositories_per_registry: 3}\n"})
	run, refused := cli(t, s)
	const code = " --service-code ecr --quota-code " + repositoriesCode

	if got := run(t, `aws service-quotas list-services --query 'Services[].ServiceCode' --output text`); got != "ecr\tecr-public" {
		t.Errorf("list-services: %q", got)
	}
	list := func(command string) map[string]quotaShape {
		all := map[string]quotaShape{}
		for _, q := range decode[struct{ Quotas []quotaShape }](t, run(t, command+" --output json")).Quotas {
			all[q.QuotaName] = q
		}
		return all
	}
	// In pages, which the CLI puts together.
	applied, defaults := list(`aws service-quotas list-service-quotas --service-code ecr --page-size 5`), list(`aws service-quotas list-aws-default-service-quotas --service-code ecr`)
	if len(applied) < 20 || len(applied) != len(defaults) {
		t.Errorf("%d quotas, and %d defaults", len(applied), len(defaults))
	}
	for name, d := range defaults {
		if a := applied[name]; a.QuotaCode != d.QuotaCode || a.QuotaArn != "arn:aws:servicequotas:us-east-1:"+s.Account+":ecr/"+a.QuotaCode {
			t.Errorf("%s: %+v, and by default %+v", name, a, d)
		}
	}
	for name, want := range map[string][2]float64{ // what holds, and AWS's own
		"Registered repositories": {3, 100_000}, "Images per repository": {100_000, 100_000}, "Rate of PutImage requests": {1e9, 10}, "Maximum layer size": {52_000, 52_000},
	} {
		if a, d := applied[name], defaults[name]; a.Value != want[0] || d.Value != want[1] {
			t.Errorf("%s: %v, and by default %v, want %v", name, a.Value, d.Value, want)
		}
	}
	if q := applied["Rate of PutImage requests"]; q.UsageMetric.MetricName != "CallCount" || q.UsageMetric.MetricDimensions["Resource"] != "PutImage" ||
		q.UsageMetric.MetricStatisticRecommendation != "Sum" || q.Period.PeriodUnit != "SECOND" || q.Period.PeriodValue != 1 || !q.Adjustable {
		t.Errorf("the rate of PutImage: %+v", q)
	}
	berth(t, s, "quota set", "rate:PutImage", "25")
	get := func(quota string) float64 {
		return decode[struct{ Quota quotaShape }](t, run(t, `aws service-quotas get-service-quota --service-code ecr --quota-code `+quota+` --output json`)).Quota.Value
	}
	if got := get("L-AD52DFB2"); got != 25 {
		t.Errorf("the rate of PutImage is %v, want the 25 that was set", got)
	}

	t.Log("it is enforced, and asked about")
	s.CreateRepository(t, "one", "two", "three")
	full := func(name string) {
		t.Helper()
		_, err := s.ECR().CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &name})
		if _, ok := errors.AsType[*types.LimitExceededException](err); !ok {
			t.Errorf("one repository too many: %v", err)
		}
	}
	full("four")
	const ask = `aws service-quotas request-service-quota-increase` + code + ` --desired-value `
	asked := decode[struct{ RequestedQuota changeShape }](t, run(t, ask+`4 --output json`)).RequestedQuota
	if asked.Status != "PENDING" || asked.DesiredValue != 4 || asked.QuotaName != "Registered repositories" || !strings.Contains(asked.Requester, "arn:aws:iam::"+s.Account+":root") {
		t.Errorf("asked: %+v", asked)
	}
	for what, row := range map[string]struct{ command, text string }{
		"twice":          {ask + `5`, "(ResourceAlreadyExistsException) when calling the RequestServiceQuotaIncrease operation: Only one open service quota increase request is allowed per quota."},
		"no more":        {ask + `2`, "(IllegalArgumentException) when calling the RequestServiceQuotaIncrease operation: You must provide a quota value greater than the current quota value."},
		"not adjustable": {`aws service-quotas request-service-quota-increase --service-code ecr --desired-value 60 --quota-code ` + defaults["Pull through cache rules per registry"].QuotaCode, "(IllegalArgumentException)"},
		"another one":    {`aws service-quotas get-service-quota --service-code ecr --quota-code L-00000000`, "(NoSuchResourceException)"},
		"of EC2":         {`aws service-quotas list-service-quotas --service-code ec2`, "(NoSuchResourceException)"},
	} {
		if got := refused(t, row.command); !strings.Contains(got, row.text) {
			t.Errorf("%s: %s", what, got)
		}
	}
	full("four")

	t.Log("the operator sees it, and approves")
	if got := berth(t, s, "quota requests"); !strings.Contains(got, asked.ID) || !strings.Contains(got, "PENDING") {
		t.Errorf("berth quota requests:\n%s", got)
	}
	if got := berth(t, s, "quota approve", asked.ID); !strings.HasPrefix(got, "APPROVED: ") || !strings.Contains(got, " is 4.") {
		t.Errorf("berth quota approve: %s", got)
	}
	if got := get(repositoriesCode); got != 4 {
		t.Errorf("approved: %v", got)
	}
	s.CreateRepository(t, "four")
	full("five")
	if got := berth(t, s, "quota requests"); !strings.HasPrefix(got, "Nobody asks for more.") {
		t.Errorf("berth quota requests:\n%s", got)
	}
	if out, err := s.Command(t.Context(), "quota", "approve", "--data", s.Data, asked.ID).CombinedOutput(); err == nil || !strings.Contains(string(out), "is decided already") {
		t.Errorf("approved again: %v %s", err, out)
	}

	t.Log("another one is denied")
	other := decode[struct{ RequestedQuota changeShape }](t, run(t, ask+`9 --output json`)).RequestedQuota
	if got := berth(t, s, "quota deny", other.ID); !strings.HasPrefix(got, "DENIED: ") || !strings.Contains(got, " is 4.") {
		t.Errorf("berth quota deny: %s", got)
	}
	full("five")

	t.Log("the history, the newest first, and after a restart")
	history := func(options string) (all []string) {
		out := decode[struct{ RequestedQuotas []changeShape }](t, run(t, `aws service-quotas list-requested-service-quota-change-history`+options+` --output json`))
		for _, r := range out.RequestedQuotas {
			all = append(all, fmt.Sprintf("%s %s %v", r.ID, r.Status, r.DesiredValue))
		}
		return all
	}
	denied, approved := other.ID+" DENIED 9", asked.ID+" APPROVED 4"
	if got := history(" --service-code ecr --page-size 1"); !slices.Equal(got, []string{denied, approved}) {
		t.Errorf("the history: %q", got)
	}
	if got := history(" --status APPROVED"); !slices.Equal(got, []string{approved}) {
		t.Errorf("the history of what was approved: %q", got)
	}
	s.Kill()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := history("-by-quota" + code); !slices.Equal(got, []string{denied, approved}) {
		t.Errorf("the history of the quota: %q", got)
	}
	full("five")

	// Only who may asks.
	run(t, `aws iam create-user --user-name reader >/dev/null
		aws iam put-user-policy --user-name reader --policy-name read --policy-document '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"servicequotas:Get*","Resource":"*"}]}'`)
	key := strings.Fields(run(t, `aws iam create-access-key --user-name reader --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text`))
	reader := in(s, s.Account, s.Region, key[0], key[1])
	quota := `"ServiceCode":"ecr","QuotaCode":"` + repositoriesCode + `"`
	// Debian's CLI does not know of levels yet.
	if status, text := reader.post(t, "1.1", "servicequotas", "ServiceQuotasV20190624.GetServiceQuota", `{`+quota+`}`); status != http.StatusOK || !strings.Contains(text, `"QuotaAppliedAtLevel":"ACCOUNT"`) {
		t.Errorf("who may read: %d %s", status, text)
	}
	if status, text := reader.post(t, "1.1", "servicequotas", "ServiceQuotasV20190624.RequestServiceQuotaIncrease", `{`+quota+`,"DesiredValue":99}`); status != http.StatusBadRequest ||
		!strings.Contains(text, "AccessDeniedException") || !strings.Contains(text, "servicequotas:RequestServiceQuotaIncrease on resource: arn:aws:servicequotas:us-east-1:"+s.Account+":ecr/"+repositoriesCode) {
		t.Errorf("who may only read, asking: %d %s", status, text)
	}
}
