// Package rules owns the language of lifecycle policies: it parses and validates
// policies strictly, with the texts in which ECR refuses them, and says which
// tags a rule asks for. Everything here is a pure function of its arguments.
//
// It does not own what a policy does to the images of a repository
// (domain/lifecycle/selection), where policies are stored and when they run, nor
// how long a policy's text may be, which the API's model says.
package rules

// Grammar says which policies are accepted.
type Grammar int

const (
	// ECR is what ECR takes today, which includes all that it ever took.
	ECR Grammar = iota
	// Extended is ECR's grammar with Berth's own additions: the actions retain
	// and untag, and sinceImagePulled with expire. A policy of ECR's grammar
	// means the same in both.
	Extended
)

// Limits are what an operator may adjust.
type Limits struct {
	// Rules is how many rules a policy may have; 0 stands for DefaultRules.
	Rules int
}

const (
	// DefaultRules is how many rules ECR takes in a policy.
	DefaultRules = 50
	// MaxWildcards is how many * a tag pattern may have.
	MaxWildcards = 4
	// MaxNumber is the largest rulePriority and countNumber.
	MaxNumber = 1<<31 - 1
	// MinArchiveDays is how many days an image stays archived at least before a
	// rule may expire it.
	MinArchiveDays = 90
)

// Policy is a valid lifecycle policy.
type Policy struct {
	// Rules are in ascending Priority, and there is at least one.
	Rules []Rule
}

// Rule selects images and says what to do with them.
type Rule struct {
	// Priority is unique in the policy, from 1 to MaxNumber; the lowest goes
	// first.
	Priority    int64
	Description string
	Selection   Selection
	Action      Action
}

// Selection says which images a rule is about, and which of them it marks.
type Selection struct {
	TagStatus TagStatus
	// Prefixes and Patterns are for Tagged, which has exactly one of the two, not
	// empty.
	Prefixes, Patterns []string
	// StorageClass is Standard where the policy's text has none.
	StorageClass StorageClass
	CountType    CountType
	// CountNumber is a number of images for ImageCountMoreThan, a number of days
	// for the others, from 1 to MaxNumber, and 0 for NoCount.
	CountNumber int64
}

// Action says what becomes of the images that a rule marks.
type Action struct {
	Type ActionType
	// Target is for Transition only.
	Target StorageClass
}

// TagStatus says whether the images of a selection have tags.
type TagStatus string

// The tag statuses.
const (
	Tagged   TagStatus = "tagged"
	Untagged TagStatus = "untagged"
	Any      TagStatus = "any"
)

// StorageClass says where an image is kept.
type StorageClass string

// The storage classes.
const (
	Standard StorageClass = "standard"
	Archive  StorageClass = "archive"
)

// CountType says how a rule marks images out of those that have the tags.
type CountType string

// The count types. Only a rule that retains may have NoCount.
const (
	NoCount                CountType = ""
	ImageCountMoreThan     CountType = "imageCountMoreThan"
	SinceImagePushed       CountType = "sinceImagePushed"
	SinceImagePulled       CountType = "sinceImagePulled"
	SinceImageTransitioned CountType = "sinceImageTransitioned"
)

// ActionType says what a rule does.
type ActionType string

// The actions.
const (
	// Expire deletes the images that the rule marks.
	Expire ActionType = "expire"
	// Transition moves the images that the rule marks to another storage class.
	Transition ActionType = "transition"
	// Retain protects the images that the rule's count does not mark, and without
	// a count all of its selection, from every rule whatever its priority.
	// Extended grammar only.
	Retain ActionType = "retain"
	// Untag takes from the images that the rule marks the tags that its list
	// matches, and all tags if it has no list. The images stay. Extended grammar
	// only.
	Untag ActionType = "untag"
)
