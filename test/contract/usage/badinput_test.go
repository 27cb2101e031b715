package usage

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// badCase is a wrong call with its answer: a row of README.md.
type badCase struct {
	service, op, what, input, exception, message string
}

// wire is how a service is spoken to in JSON.
type wire struct{ version, signing, prefix string }

func wires() map[string]wire {
	return map[string]wire{
		"events":         {"1.1", "events", "AWSEvents"},
		"cloudtrail":     {"1.1", "cloudtrail", "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101"},
		"cloudwatch":     {"1.0", "monitoring", "GraniteServiceVersion20100801"},
		"service-quotas": {"1.1", "servicequotas", "ServiceQuotasV20190624"},
	}
}

func badCases() []badCase {
	const (
		range1 = `"StartTime":1700000000,"EndTime":1700003600`
		metric = `"Namespace":"AWS/Usage","MetricName":"CallCount"`
		images = `"ServiceCode":"ecr","QuotaCode":"L-03A36CE1"`
	)
	query := func(q string) string { return `{` + range1 + `,"MetricDataQueries":[` + q + `]}` }
	const m1 = `{"Id":"m1","MetricStat":{"Period":60,"Stat":"Sum","Metric":{` + metric + `}}}`
	return []badCase{
		{"events", "PutRule", "neither a pattern nor a schedule", `{"Name":"r"}`, "ValidationException", "Parameter(s) EventPattern or ScheduleExpression must be specified."},
		{"events", "PutRule", "a schedule", `{"Name":"r","ScheduleExpression":"rate(5 minutes)"}`, "ValidationException", "Parameter ScheduleExpression is not valid. Reason: Rules do not run on a schedule here. Leave it out and say by EventPattern which events the rule is for."},
		{"events", "PutRule", "no name", `{"EventPattern":"{}"}`, "ValidationException", "1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null"},
		{"events", "PutRule", "a name with a slash", `{"Name":"a/b","EventPattern":"{\"source\":[\"aws.ecr\"]}"}`, "ValidationException", `1 validation error detected: Value 'a/b' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [\.\-_A-Za-z0-9]+`},
		{"events", "PutRule", "a pattern that is no JSON", `{"Name":"r","EventPattern":"{"}`, "InvalidEventPatternException", "Event pattern is not valid. Reason: Unexpected end-of-input within an Object\n at [Source: (String)\"{\"; line: 1, column: 2]"},
		{"events", "PutRule", "a pattern without lists", `{"Name":"r","EventPattern":"{\"source\":\"aws.ecr\"}"}`, "InvalidEventPatternException", "Event pattern is not valid. Reason: \"source\" must be an object or an array\n at [Source: (String)\"{\"source\":\"aws.ecr\"}\"; line: 1, column: 12]"},
		{"events", "PutRule", "an unknown state", `{"Name":"r","EventPattern":"{\"source\":[\"aws.ecr\"]}","State":"ON"}`, "ValidationException", "1 validation error detected: Value 'ON' at 'state' failed to satisfy constraint: Member must satisfy enum value set: [ENABLED, DISABLED, ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS]"},
		{"events", "PutRule", "another bus", `{"Name":"r","EventBusName":"mine","EventPattern":"{\"source\":[\"aws.ecr\"]}"}`, "ResourceNotFoundException", "Event bus mine does not exist."},
		{"events", "DescribeRule", "a rule that is not there", `{"Name":"none"}`, "ResourceNotFoundException", "Rule none does not exist on EventBus default."},
		{"events", "PutTargets", "a rule that is not there", `{"Rule":"none","Targets":[{"Id":"1","Arn":"arn:aws:sqs:us-east-1:000000000000:q"}]}`, "ResourceNotFoundException", "Rule none does not exist on EventBus default."},
		{"events", "PutTargets", "no targets", `{"Rule":"none","Targets":[]}`, "ValidationException", "1 validation error detected: Value at 'targets' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"events", "ListRules", "a limit of 101", `{"Limit":101}`, "ValidationException", "1 validation error detected: Value '101' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 100"},
		{"events", "ListRules", "a token that is none", `{"NextToken":"x"}`, "ValidationException", "Parameter NextToken is not valid. Reason: It is not a token of this listing. Begin without one."},
		{"events", "TestEventPattern", "an event that is no JSON", `{"EventPattern":"{\"source\":[\"aws.ecr\"]}","Event":"x"}`, "ValidationException", "Parameter Event is not valid. Reason: Unrecognized token 'x': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')."},
		{"events", "TestEventPattern", "an event without members of every event", `{"EventPattern":"{\"source\":[\"aws.ecr\"]}","Event":"{}"}`, "ValidationException", "Parameter Event is not valid. Reason: it has no id."},
		{"events", "PutEvents", "an operation that is not there", `{}`, "UnknownOperationException", ""},

		{"cloudtrail", "CreateTrail", "no bucket", `{"Name":"trail"}`, "ValidationException", "1 validation error detected: Value null at 's3BucketName' failed to satisfy constraint: Member must not be null"},
		{"cloudtrail", "CreateTrail", "a bucket that nobody configured", `{"Name":"trail","S3BucketName":"nobody"}`, "S3BucketDoesNotExistException", "S3 bucket nobody does not exist! Trails write to the buckets and directories of the server's setting audit.buckets, which has none."},
		{"cloudtrail", "CreateTrail", "a name of two characters", `{"Name":"ab","S3BucketName":"nobody"}`, "InvalidTrailNameException", "Trail name too short. Minimum allowed length: 3 characters. Specified name length: 2 characters."},
		{"cloudtrail", "CreateTrail", "a name with a slash", `{"Name":"a/b","S3BucketName":"nobody"}`, "InvalidTrailNameException", "Trail name or ARN can only contain uppercase letters, lowercase letters, numbers, periods (.), hyphens (-), and underscores (_)."},
		{"cloudtrail", "GetTrail", "a trail that is not there", `{"Name":"none"}`, "TrailNotFoundException", "Unknown trail: none for the user: 000000000000"},
		{"cloudtrail", "GetTrailStatus", "no name", `{}`, "ValidationException", "1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null"},
		{"cloudtrail", "LookupEvents", "51 results", `{"MaxResults":51}`, "InvalidMaxResultsException", "A max results value of 51 is invalid. Specify max results between 1 and 50."},
		{"cloudtrail", "LookupEvents", "two attributes", `{"LookupAttributes":[{"AttributeKey":"EventName","AttributeValue":"PutImage"},{"AttributeKey":"Username","AttributeValue":"root"}]}`, "InvalidLookupAttributesException", "You can specify one lookup attribute only."},
		{"cloudtrail", "LookupEvents", "an unknown attribute", `{"LookupAttributes":[{"AttributeKey":"Colour","AttributeValue":"red"}]}`, "ValidationException", "1 validation error detected: Value 'Colour' at 'lookupAttributes.1.member.attributeKey' failed to satisfy constraint: Member must satisfy enum value set: [EventId, EventName, ReadOnly, Username, ResourceType, ResourceName, EventSource, AccessKeyId]"},
		{"cloudtrail", "LookupEvents", "an end before the start", `{"StartTime":1700003600,"EndTime":1700000000}`, "InvalidTimeRangeException", "The start time must not be after the end time."},
		{"cloudtrail", "LookupEvents", "a token that is none", `{"NextToken":"x"}`, "InvalidNextTokenException", "The token is not valid, or it was used before in a request with different parameters."},
		{"cloudtrail", "LookupEvents", "Insights events", `{"EventCategory":"insight"}`, "InvalidParameterException", "There are no Insights events here. Leave EventCategory out."},

		{"cloudwatch", "ListMetrics", "a token that is none", `{"NextToken":"x"}`, "InvalidParameterValueException", "The parameter NextToken is not one of this request. Leave it out to begin at the first page."},
		{"cloudwatch", "ListMetrics", "other than the last three hours", `{"RecentlyActive":"PT4H"}`, "ValidationError", "1 validation error detected: Value 'PT4H' at 'recentlyActive' failed to satisfy constraint: Member must satisfy enum value set: [PT3H]"},
		{"cloudwatch", "ListMetrics", "an account that is not linked", `{"OwningAccount":"111122223333"}`, "InvalidParameterValueException", "The account 111122223333 is not linked to this one; accounts see their own metrics only. Leave OwningAccount out."},
		{"cloudwatch", "ListMetrics", "an empty namespace", `{"Namespace":""}`, "ValidationError", "2 validation errors detected: Value '' at 'namespace' failed to satisfy constraint: Member must have length greater than or equal to 1; Value '' at 'namespace' failed to satisfy constraint: Member must satisfy regular expression pattern: [^:].*"},
		{"cloudwatch", "GetMetricStatistics", "no namespace", `{"MetricName":"CallCount","Period":60,` + range1 + `,"Statistics":["Sum"]}`, "ValidationError", "1 validation error detected: Value null at 'namespace' failed to satisfy constraint: Member must not be null"},
		{"cloudwatch", "GetMetricStatistics", "no statistics", `{` + metric + `,"Period":60,` + range1 + `}`, "InvalidParameterCombinationException", "At least one of the parameters Statistics and ExtendedStatistics must be specified."},
		{"cloudwatch", "GetMetricStatistics", "an unknown statistic", `{` + metric + `,"Period":60,` + range1 + `,"Statistics":["Median"]}`, "ValidationError", "1 validation error detected: Value 'Median' at 'statistics' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [SampleCount, Average, Sum, Minimum, Maximum]]"},
		{"cloudwatch", "GetMetricStatistics", "a percentile", `{` + metric + `,"Period":60,` + range1 + `,"ExtendedStatistics":["p99"]}`, "InvalidParameterValueException", "The value p99 for parameter ExtendedStatistics.member.1 is not supported: usage is kept as sums by the minute, which have no percentiles. Use SampleCount, Sum, Average, Minimum or Maximum."},
		{"cloudwatch", "GetMetricStatistics", "a period of 61 seconds", `{` + metric + `,"Period":61,` + range1 + `,"Statistics":["Sum"]}`, "InvalidParameterValueException", "The parameter Period must be a multiple of 60, and not greater than 39312000."},
		{"cloudwatch", "GetMetricStatistics", "a period of none", `{` + metric + `,"Period":0,` + range1 + `,"Statistics":["Sum"]}`, "ValidationError", "1 validation error detected: Value '0' at 'period' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"cloudwatch", "GetMetricStatistics", "an end before the start", `{` + metric + `,"Period":60,"StartTime":1700003600,"EndTime":1700000000,"Statistics":["Sum"]}`, "InvalidParameterValueException", "The parameter StartTime must be less than the parameter EndTime."},
		{"cloudwatch", "GetMetricStatistics", "1,441 datapoints", `{` + metric + `,"Period":60,"StartTime":1700002800,"EndTime":1700089260,"Statistics":["Sum"]}`, "InvalidParameterCombinationException", "You have requested up to 1441 datapoints, which exceeds the limit of 1440. You may reduce the datapoints requested by increasing Period, or decreasing the time range."},
		{"cloudwatch", "GetMetricStatistics", "31 dimensions", `{` + metric + `,"Period":60,` + range1 + `,"Statistics":["Sum"],"Dimensions":[` + strings.Repeat(`{"Name":"n","Value":"v"},`, 30) + `{"Name":"n","Value":"v"}]}`, "ValidationError", "1 validation error detected: Value at 'dimensions' failed to satisfy constraint: Member must have length less than or equal to 30"},
		{"cloudwatch", "GetMetricData", "no queries", query(``), "ValidationError", "The collection MetricDataQueries must not have a size less than 1."},
		{"cloudwatch", "GetMetricData", "neither a metric nor an expression", query(`{"Id":"m1"}`), "ValidationError", "Either the parameter MetricDataQueries.member.1.MetricStat or MetricDataQueries.member.1.Expression must be specified, and not both."},
		{"cloudwatch", "GetMetricData", "an id in upper case", query(`{"Id":"M1","Expression":"1"}`), "ValidationError", "The value M1 for parameter MetricDataQueries.member.1.Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$."},
		{"cloudwatch", "GetMetricData", "an id that stands twice", query(m1 + `,` + m1), "ValidationError", "The value m1 for parameter MetricDataQueries.member.2.Id is there twice; ids have to be unique."},
		{"cloudwatch", "GetMetricData", "an expression that cannot be read", query(m1 + `,{"Id":"e1","Expression":"m1/"}`), "ValidationError", "Error in expression 'e1': the expression ends too early"},
		{"cloudwatch", "GetMetricData", "an expression of a query that is not there", query(`{"Id":"e1","Expression":"m1*2"}`), "ValidationError", "Error in expression 'e1': there is no query with the id 'm1'"},
		{"cloudwatch", "GetMetricData", "an expression that needs itself", query(`{"Id":"e1","Expression":"e1+1"}`), "ValidationError", "Error in expression 'e1': it needs itself"},
		{"cloudwatch", "GetMetricData", "a token that is none", `{` + range1 + `,"NextToken":"x","MetricDataQueries":[` + m1 + `]}`, "InvalidNextToken", "The parameter NextToken is not one of this request. Leave it out to begin at the first page."},
		{"cloudwatch", "PutMetricAlarm", "an operation that is not there", `{}`, "UnknownOperationException", ""},

		{"service-quotas", "ListServiceQuotas", "no service", `{}`, "ValidationException", "1 validation error detected: Value null at 'serviceCode' failed to satisfy constraint: Member must not be null"},
		{"service-quotas", "ListServiceQuotas", "a service without quotas", `{"ServiceCode":"ec2"}`, "NoSuchResourceException", "The request failed because the specified service does not exist."},
		{"service-quotas", "ListServiceQuotas", "101 results", `{"ServiceCode":"ecr","MaxResults":101}`, "ValidationException", "1 validation error detected: Value '101' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 100"},
		{"service-quotas", "ListServiceQuotas", "a token that is none", `{"ServiceCode":"ecr","NextToken":"x"}`, "InvalidPaginationTokenException", "Invalid pagination token provided"},
		{"service-quotas", "GetServiceQuota", "a quota that is not there", `{"ServiceCode":"ecr","QuotaCode":"L-00000000"}`, "NoSuchResourceException", "The request failed because the specified quota does not exist."},
		{"service-quotas", "GetAWSDefaultServiceQuota", "a code of no length", `{"ServiceCode":"ecr","QuotaCode":""}`, "ValidationException", "2 validation errors detected: Value '' at 'quotaCode' failed to satisfy constraint: Member must have length greater than or equal to 1; Value '' at 'quotaCode' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z][a-zA-Z0-9-]{1,128}"},
		{"service-quotas", "RequestServiceQuotaIncrease", "no value", `{` + images + `}`, "ValidationException", "1 validation error detected: Value null at 'desiredValue' failed to satisfy constraint: Member must not be null"},
		{"service-quotas", "RequestServiceQuotaIncrease", "a negative value", `{` + images + `,"DesiredValue":-1}`, "ValidationException", "1 validation error detected: Value '-1' at 'desiredValue' failed to satisfy constraint: Member must have value greater than or equal to 0"},
		{"service-quotas", "RequestServiceQuotaIncrease", "the value that holds", `{` + images + `,"DesiredValue":100000}`, "IllegalArgumentException", "You must provide a quota value greater than the current quota value."},
		{"service-quotas", "RequestServiceQuotaIncrease", "a value that is not whole", `{` + images + `,"DesiredValue":100000.5}`, "IllegalArgumentException", "The desired value of L-03A36CE1 (Images per repository) has to be a whole number of its unit."},
		{"service-quotas", "RequestServiceQuotaIncrease", "a text as value", `{` + images + `,"DesiredValue":"many"}`, "SerializationException", "STRING_VALUE can not be converted to a Double"},
		{"service-quotas", "GetRequestedServiceQuotaChange", "a request that is not there", `{"RequestId":"00000000-0000-0000-0000-000000000000"}`, "NoSuchResourceException", "The request failed because there is no quota increase request 00000000-0000-0000-0000-000000000000."},
		{"service-quotas", "ListRequestedServiceQuotaChangeHistory", "an unknown status", `{"Status":"OPEN"}`, "ValidationException", "1 validation error detected: Value 'OPEN' at 'status' failed to satisfy constraint: Member must satisfy enum value set: [PENDING, CASE_OPENED, APPROVED, DENIED, CASE_CLOSED, NOT_APPROVED, INVALID_REQUEST]"},
		{"service-quotas", "CreateSupportCase", "an operation that is not there", `{}`, "UnknownOperationException", ""},
	}
}

// table is the table of bad input of README.md.
func table() string {
	var out strings.Builder
	out.WriteString("| service | operation | what | exception | message |\n|---|---|---|---|---|\n")
	for _, c := range badCases() {
		message := "none"
		if c.message != "" {
			message = "`" + strings.NewReplacer("|", `\|`, "\n", " ").Replace(c.message) + "`"
		}
		out.WriteString("| " + strings.Join([]string{c.service, c.op, c.what, c.exception, message}, " | ") + " |\n")
	}
	return out.String()
}

// TestBadInput: every wrong call is refused with the right exception and words.
func TestBadInput(t *testing.T) {
	t.Parallel()
	c := home(harness.Start(t, harness.Options{}))
	for _, b := range badCases() {
		w := wires()[b.service]
		status, text := c.post(t, w.version, w.signing, w.prefix+"."+b.op, b.input)
		var answer struct {
			Type    string `json:"__type"`
			Message string
		}
		err := json.Unmarshal([]byte(text), &answer)
		_, exception, ok := strings.Cut(answer.Type, "#")
		if !ok {
			exception = answer.Type
		}
		if err != nil || status != http.StatusBadRequest || exception != b.exception || answer.Message != b.message {
			t.Errorf("%s %s, %s: %d %s\nwant %s: %s", b.service, b.op, b.what, status, text, b.exception, b.message)
		}
	}
}

// TestReadmeHasTheTable keeps the table of bad input that people read the one that is
// checked.
func TestReadmeHasTheTable(t *testing.T) {
	text := must(os.ReadFile("README.md"))(t)
	if !strings.Contains(string(text), table()) {
		t.Errorf("README.md has another table than badinput_test.go. It has to be:\n%s", table())
	}
}
