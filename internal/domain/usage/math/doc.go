// Package math is the part of CloudWatch's metric math that usage metrics are looked at
// with: numbers, ids, + - * / ^, brackets, lists and the functions of function's table,
// SERVICE_QUOTA among them ("Using math expressions with CloudWatch metrics").
//
// It reads and evaluates expressions and nothing else: what an id stands for, and what a
// quota is, its caller says. Comparisons, IF, SEARCH, anomaly detection and Metrics
// Insights queries are not in it and are refused.
package math
