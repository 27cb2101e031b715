package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/eventadmin"
	"github.com/berth-registry/berth/internal/app/eventing"
	"github.com/berth-registry/berth/internal/domain/event/destination"
	"github.com/berth-registry/berth/internal/domain/name"
)

type destinationCommand struct {
	Create       destinationCreate `cmd:"" help:"Make a destination."`
	List         destinationList   `cmd:"" help:"List the destinations."`
	Show         destinationShow   `cmd:"" help:"Show a destination, without its secrets."`
	Delete       destinationDelete `cmd:"" help:"Remove a destination."`
	RotateSecret destinationRotate `cmd:"" help:"Give a webhook a new signing secret."`
	Test         destinationTest   `cmd:"" help:"Send a sample event, and say what came back."`
}

// Help explains destinations.
func (destinationCommand) Help() string {
	return `A destination is where the targets of rules may send events. It is made here, with its
address and its secrets, and named in rules by its ARN:

  aws events put-targets --rule RULE --targets Id=1,Arn=ARN`
}

// destinationFlags are the flags of all commands about destinations.
type destinationFlags struct {
	common
	Account name.AccountID `help:"The account whose rules may send to it (default: the server's)."`
	Region  name.Region    `help:"The region of these rules (default: the server's)."`
}

func (c destinationFlags) home() eventadmin.DestinationHome {
	return eventadmin.DestinationHome{Account: c.Account, Region: c.Region}
}

// askDestination asks the server, and has its answer printed: as JSON, or by show.
func askDestination[Out any](ctx context.Context, c common, out io.Writer, call Admin, do string, in any, show func(Out) error) error {
	var answer Out
	if err := call(ctx, c.Data, http.MethodPost, "/events/destinations/"+do, in, &answer); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, answer)
	}
	return show(answer)
}

type destinationCreate struct {
	Webhook     createWebhook     `cmd:"" help:"An HTTPS server; requests are signed as Standard Webhooks says."`
	File        createFile        `cmd:"" help:"A file, a line of JSON for each event."`
	NATS        createNATS        `cmd:"" name:"nats" help:"A NATS server, with or without JetStream."`
	SQS         createSQS         `cmd:"" name:"sqs" help:"A queue of Amazon SQS, or of what speaks its protocol."`
	SNS         createSNS         `cmd:"" name:"sns" help:"A topic of Amazon SNS, or of what speaks its protocol."`
	EventBridge createEventBridge `cmd:"" name:"eventbridge" help:"A bus of Amazon EventBridge, by PutEvents."`
}

// createFlags are the flags of all kinds.
type createFlags struct {
	destinationFlags
	Name string `arg:"" help:"The destination's name."`
}

// secretFile is the path of a file that holds a secret. Secrets are no flags: other users
// of the machine see those.
type secretFile string

// read is the file's text without the line's end, "" for no file.
func (f secretFile) read() (string, error) {
	if f == "" {
		return "", nil
	}
	text, err := os.ReadFile(string(f))
	if err != nil {
		return "", err
	}
	if s := strings.TrimRight(string(text), "\r\n"); s != "" {
		return s, nil
	}
	return "", fmt.Errorf("the file %s is empty", f)
}

// secrets reads secrets from files, by their names.
func secrets(files map[string]secretFile) (map[string]string, error) {
	all := map[string]string{}
	for name, file := range files {
		text, err := file.read()
		if err != nil {
			return nil, err
		}
		if text != "" {
			all[name] = text
		}
	}
	return all, nil
}

// make makes the destination and prints it.
func (c createFlags) make(ctx context.Context, out io.Writer, call Admin, in eventadmin.DestinationCreate, settings any) error {
	in.DestinationHome, in.Name = c.home(), c.Name
	var err error
	if in.Settings, err = json.Marshal(settings); err != nil {
		return err
	}
	return askDestination(ctx, c.common, out, call, "create", in, func(d eventadmin.DestinationSecret) error {
		if err := showDestination(out, d.Destination); err != nil {
			return err
		}
		if err := showSecret(out, d); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "\nRules send to it once it is a target of theirs:\n  aws events put-targets --rule RULE --targets Id=1,Arn=%s\n", console.Plain(d.ARN))
		return err
	})
}

type createWebhook struct {
	createFlags
	URL           string            `name:"url" required:"" help:"Where to POST; a * in its path stands for a PathParameterValue of the rule's target."`
	Header        map[string]string `mapsep:"none" placeholder:"NAME=VALUE" help:"A header to send. It is kept like a secret."`
	HeaderFile    map[string]string `mapsep:"none" placeholder:"NAME=FILE" help:"A header to send, whose value is in a file."`
	Timeout       time.Duration     `help:"How long a try may take, up to 1m (default 15s)."`
	CAFile        secretFile        `name:"ca-file" placeholder:"FILE" help:"Certificates in PEM to trust in place of the system's."`
	SigningSecret secretFile        `name:"signing-secret-file" placeholder:"FILE" help:"A file with the signing secret, whsec_... (default: one is made)."`
}

// Run makes it.
func (c createWebhook) Run(ctx context.Context, out io.Writer, call Admin) error {
	if c.Timeout%time.Second != 0 {
		return errors.New("--timeout takes whole seconds")
	}
	files := map[string]secretFile{}
	for header, file := range c.HeaderFile {
		files[eventing.HeaderPrefix+header] = secretFile(file)
	}
	held, err := secrets(files)
	if err != nil {
		return err
	}
	for header, value := range c.Header {
		held[eventing.HeaderPrefix+header] = value
	}
	ca, err := c.CAFile.read()
	if err != nil {
		return err
	}
	signing, err := c.SigningSecret.read()
	if err != nil {
		return err
	}
	in := eventadmin.DestinationCreate{Kind: destination.Webhook, Secrets: held, SigningSecret: signing}
	return c.make(ctx, out, call, in, eventing.WebhookSettings{URL: c.URL, TimeoutSeconds: int(c.Timeout / time.Second), CA: ca})
}

type createFile struct {
	createFlags
	Path string `required:"" help:"The file, below the directory that the configuration has for them."`
}

// Run makes it.
func (c createFile) Run(ctx context.Context, out io.Writer, call Admin) error {
	return c.make(ctx, out, call, eventadmin.DestinationCreate{Kind: destination.File}, eventing.FileSettings{Path: c.Path})
}

type createNATS struct {
	createFlags
	URL       string     `name:"url" required:"" help:"The server, nats://host:4222 or tls://host:4222; several of a cluster with commas between."`
	Subject   string     `help:"The subject, in which {account}, {region}, {repository}, {source} and {detail-type} stand for the event's (default berth.{account}.{region}.{repository})."`
	JetStream bool       `name:"jetstream" help:"Wait until a stream has stored the event."`
	User      string     `help:"The user to sign in as."`
	Password  secretFile `name:"password-file" placeholder:"FILE" help:"A file with the user's password."`
	Token     secretFile `name:"token-file" placeholder:"FILE" help:"A file with a token."`
	NKey      secretFile `name:"nkey-file" placeholder:"FILE" help:"A file with the seed of an nkey."`
	Creds     secretFile `name:"creds-file" placeholder:"FILE" help:"A credentials file."`
	CAFile    secretFile `name:"ca-file" placeholder:"FILE" help:"Certificates in PEM to trust in place of the system's."`
}

// Run makes it.
func (c createNATS) Run(ctx context.Context, out io.Writer, call Admin) error {
	held, err := secrets(map[string]secretFile{
		eventing.SecretPassword: c.Password, eventing.SecretToken: c.Token, eventing.SecretNKey: c.NKey, eventing.SecretCreds: c.Creds,
	})
	if err != nil {
		return err
	}
	ca, err := c.CAFile.read()
	if err != nil {
		return err
	}
	in := eventadmin.DestinationCreate{Kind: destination.NATS, Secrets: held}
	return c.make(ctx, out, call, in, eventing.NATSSettings{URL: c.URL, Subject: c.Subject, JetStream: c.JetStream, User: c.User, CA: ca})
}

// awsFlags are the flags of what speaks AWS's protocols.
type awsFlags struct {
	createFlags
	ARN             string     `arg:"" name:"arn" help:"Its ARN, which rules name it by."`
	Endpoint        string     `name:"endpoint" help:"The service's URL (default: AWS's own)."`
	TargetRegion    string     `help:"The region that calls are signed for (default: the ARN's)."`
	AccessKeyID     string     `name:"access-key-id" help:"An access key (default: what the server finds of AWS's own: its environment, its role)."`
	SecretAccessKey secretFile `name:"secret-access-key-file" placeholder:"FILE" help:"A file with the access key's secret."`
	SessionToken    secretFile `name:"session-token-file" placeholder:"FILE" help:"A file with a session token."`
}

func (c awsFlags) request(kind destination.Kind) (eventadmin.DestinationCreate, eventing.AWSSettings, error) {
	held, err := secrets(map[string]secretFile{eventing.SecretAccessKey: c.SecretAccessKey, eventing.SecretSessionToken: c.SessionToken})
	return eventadmin.DestinationCreate{Kind: kind, ARN: c.ARN, Secrets: held}, eventing.AWSSettings{Region: c.TargetRegion, Endpoint: c.Endpoint, AccessKeyID: c.AccessKeyID}, err
}

type createSQS struct {
	awsFlags
	QueueURL string `name:"queue-url" help:"The queue's URL (default: the endpoint, the account and the name of the ARN)."`
}

// Run makes it.
func (c createSQS) Run(ctx context.Context, out io.Writer, call Admin) error {
	in, settings, err := c.request(destination.SQS)
	if err != nil {
		return err
	}
	return c.make(ctx, out, call, in, eventing.SQSSettings{AWSSettings: settings, QueueURL: c.QueueURL})
}

type createSNS struct{ awsFlags }

// Run makes it.
func (c createSNS) Run(ctx context.Context, out io.Writer, call Admin) error {
	in, settings, err := c.request(destination.SNS)
	if err != nil {
		return err
	}
	return c.make(ctx, out, call, in, eventing.SNSSettings{AWSSettings: settings})
}

type createEventBridge struct {
	awsFlags
	SourcePrefix string `help:"What takes the place of \"aws.\" in the source of events, which a bus of AWS does not take (default berth.)."`
	IDMember     string `name:"id-member" help:"A member that the detail gets, with the event's id: a bus gives each event another one."`
}

// Run makes it.
func (c createEventBridge) Run(ctx context.Context, out io.Writer, call Admin) error {
	in, settings, err := c.request(destination.EventBridge)
	if err != nil {
		return err
	}
	return c.make(ctx, out, call, in, eventing.EventBridgeSettings{AWSSettings: settings, SourcePrefix: c.SourcePrefix, IDMember: c.IDMember})
}

type destinationList struct{ destinationFlags }

// Help says which.
func (destinationList) Help() string {
	return "Those of all accounts and regions, unless one is named."
}

// Run lists.
func (c destinationList) Run(ctx context.Context, out io.Writer, call Admin) error {
	return askDestination(ctx, c.common, out, call, "list", c.home(), func(all eventadmin.DestinationList) error {
		if len(all.Destinations) == 0 {
			_, err := fmt.Fprintln(out, "There are no destinations.")
			return err
		}
		table := console.NewTable(out, "NAME", "KIND", "ACCOUNT", "REGION", "ARN", "CHANGED")
		for _, d := range all.Destinations {
			table.Row(d.Name, string(d.Kind), string(d.Account), string(d.Region), d.ARN, console.Minute(d.Changed))
		}
		return table.Flush()
	})
}

// oneDestination are the flags of commands about one.
type oneDestination struct {
	destinationFlags
	Destination string `arg:"" help:"The destination's name or ARN."`
}

func (c oneDestination) target() eventadmin.DestinationTarget {
	return eventadmin.DestinationTarget{DestinationHome: c.home(), Destination: c.Destination}
}

type destinationShow struct{ oneDestination }

// Run shows it.
func (c destinationShow) Run(ctx context.Context, out io.Writer, call Admin) error {
	return askDestination(ctx, c.common, out, call, "show", c.target(), func(d eventadmin.Destination) error { return showDestination(out, d) })
}

func showDestination(out io.Writer, d eventadmin.Destination) error {
	table := console.NewTable(out)
	table.Row("Name", d.Name)
	table.Row("Kind", string(d.Kind))
	table.Row("For rules of", string(d.Account)+"/"+string(d.Region))
	table.Row("ARN", d.ARN)
	table.Row("Settings", string(d.Settings))
	table.Row("Secrets", strings.Join(d.Secrets, ", "))
	table.Row("Changed", console.Minute(d.Changed))
	return table.Flush()
}

func showSecret(out io.Writer, d eventadmin.DestinationSecret) error {
	if d.SigningSecret == "" {
		return nil
	}
	_, err := fmt.Fprintf(out, "\nIt signs with this secret, which is not shown again:\n  %s\n", d.SigningSecret)
	return err
}

type destinationDelete struct {
	oneDestination
	Force bool `help:"Also while rules send to it. Their events wait until it is made again, and are dead in the end."`
}

// Run removes it.
func (c destinationDelete) Run(ctx context.Context, out io.Writer, call Admin) error {
	in := c.target()
	in.Force = c.Force
	return askDestination(ctx, c.common, out, call, "delete", in, func(d eventadmin.Destination) error {
		_, err := fmt.Fprintf(out, "The destination %s is gone.\n", console.Plain(d.Name))
		return err
	})
}

type destinationRotate struct{ oneDestination }

// Help explains how.
func (destinationRotate) Help() string {
	return `The old secret signs beside the new one for 24 hours. Give the receiver the new one in
that time.`
}

// Run rotates it.
func (c destinationRotate) Run(ctx context.Context, out io.Writer, call Admin) error {
	return askDestination(ctx, c.common, out, call, "rotate-secret", c.target(), func(d eventadmin.DestinationSecret) error {
		if err := showSecret(out, d); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "\nThe one before signs beside it until %s.\n", console.Minute(d.Changed.Add(destination.Overlap)))
		return err
	})
}

type destinationTest struct{ oneDestination }

// Help says what is sent.
func (destinationTest) Help() string {
	return `The event's source is "berth" and its detail-type "Berth Test Event"; no rule is asked.`
}

// Run sends it, and fails when it was not taken.
func (c destinationTest) Run(ctx context.Context, out io.Writer, call Admin) error {
	var t eventadmin.DestinationTest
	if err := call(ctx, c.Data, http.MethodPost, "/events/destinations/test", c.target(), &t); err != nil {
		return err
	}
	var err error
	switch {
	case c.JSON:
		err = console.JSON(out, t)
	case t.Error == "":
		_, err = fmt.Fprintf(out, "The destination has taken the event %s.\n", t.ID)
	}
	if t.Error != "" {
		err = errors.Join(err, fmt.Errorf("the destination has not taken the event: %s", console.Plain(t.Error)))
	}
	return err
}
