// Package obs is what the program is watched with: a registry of metrics, spans
// sent by OTLP, and a line of the log for each request.
//
// It knows neither what is measured nor who measures it (app/observe does). It
// keeps no global state: no default registry, no global tracer provider.
package obs
