package certs

import (
	"crypto/x509"
	"fmt"
	"os"
)

// Authorities are the system's certificate authorities and those of a PEM file; nil,
// for "", stands for the system's alone. Errors begin with the setting that named the
// file.
func Authorities(file, setting string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", setting, err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a system without any
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s holds no certificate in PEM form", setting, file)
	}
	return roots, nil
}
