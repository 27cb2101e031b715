// Command compatibility prints docs/compatibility.md from the tables of
// operations:
//
//	go run ./tools/compatibility > docs/compatibility.md
package main

import (
	"fmt"
	"os"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/cloudtrail"
	"github.com/berth-registry/berth/internal/api/cloudwatch"
	"github.com/berth-registry/berth/internal/api/ecr"
	"github.com/berth-registry/berth/internal/api/ecrpublic"
	"github.com/berth-registry/berth/internal/api/events"
	"github.com/berth-registry/berth/internal/api/iam"
	"github.com/berth-registry/berth/internal/api/secretsmanager"
	"github.com/berth-registry/berth/internal/api/servicequotas"
	"github.com/berth-registry/berth/internal/api/sts"
)

func main() {
	// The tables are there without anything behind them.
	services := []aws.Service{
		ecr.New(ecr.Config{}).Service(),
		ecrpublic.New(ecrpublic.Config{}).Service(),
		iam.New(iam.Config{}).Service(),
		sts.New(sts.Config{}).Service(),
		secretsmanager.New(secretsmanager.Config{}).Service(),
		events.New(events.Config{}).Service(),
		cloudtrail.New(cloudtrail.Config{}).Service(),
		cloudwatch.New(cloudwatch.Config{}).Service(),
		servicequotas.New(servicequotas.Config{}).Service(),
	}
	if _, err := os.Stdout.Write(aws.Compatibility(services)); err != nil {
		fmt.Fprintln(os.Stderr, "compatibility:", err)
		os.Exit(1)
	}
}
