// Package metric is what a usage metric is, in CloudWatch's words: a namespace, a name,
// dimensions, and points in time. It stores and computes nothing.
package metric

import "time"

// Dimension is one name and value of a metric.
type Dimension struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Series is one metric with its dimensions, which are sorted by name.
type Series struct {
	Namespace  string
	Name       string
	Dimensions []Dimension
}

// Point is what was measured in a period.
type Point struct {
	// Start is the beginning of the period.
	Start time.Time
	// Samples is CloudWatch's SampleCount.
	Samples float64
	Sum     float64
	Minimum float64
	Maximum float64
}

// Filter says which series are meant; a zero value means all.
type Filter struct {
	Namespace string
	Name      string
	// Dimensions have to be there; one with an empty value with any value.
	Dimensions []Dimension
	// Since leaves out series without a point after it; zero leaves none out.
	Since time.Time
}
