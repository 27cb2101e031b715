package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/policy/jsontree"
)

// prefix is how every refusal of a lifecycle policy begins. The quotation that
// it opens is closed by the texts that follow, and left open by some: clients
// compare what ECR sends.
const prefix = "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: "

// Texts that ECR is known to send.
const (
	textNotMapped = "Could not map policyString into LifecyclePolicy.'"
	textNoSchema  = "instance failed to match exactly one schema (matched 0 out of 2)\n"
	textNoList    = "Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED.'"
	textUntagged  = "Only one rule can select Untagged images per storage class.'"
	textAnyLast   = "Rule for tagStatus=ANY must have the lowest priority per storage class"
)

// Texts of our own, in the style of ECR's: of these refusals only that they
// happen is known.
const (
	textDuplicateMember = "Could not map policyString into LifecyclePolicy. A member must not be given twice.'"
	textTooLarge        = "Could not map policyString into LifecyclePolicy. It is too large or nested too deeply.'"
	textBothLists       = "Must specify only one of tagPrefixList and tagPatternList when tagStatus=TAGGED.'"
	textWildcards       = "Must specify at most 4 wildcards (*) in an entry of tagPatternList.'"
	textPriorities      = "Rules must have unique values of rulePriority.'"
	textPrefixes        = "Rules must have unique values of tagPrefixList per storage class.'"
	textPatterns        = "Rules must have unique values of tagPatternList per storage class.'"
	textArchive         = "Must specify storageClass=ARCHIVE if and only if countType=SINCE_IMAGE_TRANSITIONED.'"
	textTransitioned    = "Must specify action type=EXPIRE when countType=SINCE_IMAGE_TRANSITIONED.'"
	textPulled          = "Must specify action type=TRANSITION when countType=SINCE_IMAGE_PULLED.'"
	textNoTarget        = "Must specify targetStorageClass when action type=TRANSITION.'"
	textUntagUntagged   = "Must not specify tagStatus=UNTAGGED when action type=UNTAG.'"
)

func textTarget(t ActionType) string {
	return fmt.Sprintf("Must not specify targetStorageClass when action type=%s.'", strings.ToUpper(string(t)))
}

func textLists(s TagStatus) string {
	return fmt.Sprintf("Must not specify tagPrefixList or tagPatternList when tagStatus=%s.'", strings.ToUpper(string(s)))
}

func refuse(text string) error {
	return &errs.Error{Code: errs.InvalidParameter, Message: prefix + text}
}

// The refusals of ECR's schema layer, in its words.

func refuseMissing(names []string) error {
	return refuse("object has missing required properties (" + list(names) + ")'")
}

func refuseUnknown(names []string) error {
	return refuse("object instance has properties which are not allowed by the schema: (" + list(names) + ")'")
}

// refuseType wants a value of a type; a null is refused in words of its own.
func refuseType(n *jsontree.Node, want string) error {
	if n.Kind == jsontree.Null {
		return refuse(textNoSchema)
	}
	return refuse(fmt.Sprintf(`instance type (%s) does not match any allowed primitive type (allowed: ["%s"])'`, typeName(n), want))
}

// refuseEnum prints the possible values as ECR does, which is not always alike.
func refuseEnum(value, possible string) error {
	return refuse(fmt.Sprintf("instance value (%s) not found in enum :(possible values: %s)'", value, possible))
}

func refuseMinimum(minimum int64, found string) error {
	return refuse(fmt.Sprintf("numeric instance is lower than the required minimum (minimum: %d, found: %s)", minimum, found))
}

func refuseMaximum(found string) error {
	return refuse(fmt.Sprintf("numeric instance is greater than the required maximum (maximum: %d, found: %s)", MaxNumber, found))
}

// list writes names as a JSON array, sorted.
func list(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range slices.Sorted(slices.Values(names)) {
		quoted[i] = (&jsontree.Node{Kind: jsontree.String, Text: name}).Compact()
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// typeName is a value's type as JSON Schema calls it.
func typeName(n *jsontree.Node) string {
	switch n.Kind {
	case jsontree.Object:
		return "object"
	case jsontree.Array:
		return "array"
	case jsontree.String:
		return "string"
	case jsontree.Bool:
		return "boolean"
	case jsontree.Number:
		if strings.ContainsAny(n.Text, ".eE") {
			return "number"
		}
		return "integer"
	case jsontree.Null:
	}
	return "null"
}
