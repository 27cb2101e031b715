// Package pattern is the language in which rules say which events they are for:
// EventBridge's event patterns, as "Creating Amazon EventBridge event patterns" and
// "Comparison operators" of its user guide describe them. It is pure.
//
// A pattern is JSON with the shape of the event that it describes. Each of its leaves is
// an array of values and operators, one of which the event's value has to satisfy; all
// leaves have to be satisfied, and values that stand in arrays of objects have to come
// from the same element. Where the guide leaves something open, the package does as
// AWS's published matcher (event-ruler) does: paths are keys joined by dots, so that
// {"a": {"b": …}} and {"a.b": …} are one; of duplicate keys in a pattern the last one
// counts; numbers are equal by value.
//
// It does not own rules (event/rule) nor the events' text (event/envelope).
package pattern
