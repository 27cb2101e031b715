package condition

// family is what an operator compares, from cheap to costly.
type family uint8

const (
	null family = iota + 1
	boolean
	stringEquals
	stringEqualsIgnoreCase
	stringLike
	arn
	ipAddress
	numeric
	binary
	date
)

// relation is how a value of the key has to stand to one of the policy.
type relation uint8

const (
	equal relation = iota
	less
	lessOrEqual
	greater
	greaterOrEqual
)

// holds says whether the outcome of a comparison, as of cmp.Compare, fulfils the
// relation.
func (r relation) holds(order int) bool {
	switch r {
	case less:
		return order < 0
	case lessOrEqual:
		return order <= 0
	case greater:
		return order > 0
	case greaterOrEqual:
		return order >= 0
	default: // equal
		return order == 0
	}
}

type operator struct {
	family   family
	relation relation
	negated  bool
}

// operators holds every operator without prefix and suffix, in lower case.
var operators = map[string]operator{
	"stringequals":              {family: stringEquals},
	"stringnotequals":           {family: stringEquals, negated: true},
	"stringequalsignorecase":    {family: stringEqualsIgnoreCase},
	"stringnotequalsignorecase": {family: stringEqualsIgnoreCase, negated: true},
	"stringlike":                {family: stringLike},
	"stringnotlike":             {family: stringLike, negated: true},
	"numericequals":             {family: numeric},
	"numericnotequals":          {family: numeric, negated: true},
	"numericlessthan":           {family: numeric, relation: less},
	"numericlessthanequals":     {family: numeric, relation: lessOrEqual},
	"numericgreaterthan":        {family: numeric, relation: greater},
	"numericgreaterthanequals":  {family: numeric, relation: greaterOrEqual},
	"dateequals":                {family: date},
	"datenotequals":             {family: date, negated: true},
	"datelessthan":              {family: date, relation: less},
	"datelessthanequals":        {family: date, relation: lessOrEqual},
	"dategreaterthan":           {family: date, relation: greater},
	"dategreaterthanequals":     {family: date, relation: greaterOrEqual},
	"bool":                      {family: boolean},
	"binaryequals":              {family: binary},
	"ipaddress":                 {family: ipAddress},
	"notipaddress":              {family: ipAddress, negated: true},
	"arnequals":                 {family: arn}, // ArnEquals and ArnLike are the same
	"arnlike":                   {family: arn},
	"arnnotequals":              {family: arn, negated: true},
	"arnnotlike":                {family: arn, negated: true},
	"null":                      {family: null},
}
