package image

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/image"
	"github.com/spf13/cobra"

	"github.com/davit-engine/davit/cli/client"
	"github.com/davit-engine/davit/cli/complete"
	"github.com/davit-engine/davit/cli/env"
	"github.com/davit-engine/davit/cli/flags"
	"github.com/davit-engine/davit/cli/format"
	"github.com/davit-engine/davit/cli/name"
)

type listOptions struct {
	all, quiet, noTrunc, digests bool
	format                       string
	filter                       flags.Filter
}

// NewImagesCmd returns "images".
func NewImagesCmd(e *env.Env) *cobra.Command {
	cmd := newList(e)
	cmd.Use = "images [OPTIONS] [REPOSITORY[:TAG]]"
	return cmd
}

// NewLsCmd returns "image ls", which is images.
func NewLsCmd(e *env.Env) *cobra.Command {
	cmd := newList(e)
	cmd.Use, cmd.Aliases = "ls [OPTIONS] [REPOSITORY[:TAG]]", []string{"list"}
	return cmd
}

func newList(e *env.Env) *cobra.Command {
	o := &listOptions{}
	cmd := &cobra.Command{
		Short: "List images", Args: env.Arguments(0, 1), ValidArgsFunction: complete.FirstImage(e),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, e, args) },
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "Show all images (default hides intermediate images)")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Only show image IDs")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "Don't truncate output")
	f.BoolVar(&o.digests, "digests", false, "Show digests")
	format.Flags(f, &o.format)
	f.VarP(&o.filter, "filter", "f", "Filter output based on conditions provided")
	_ = cmd.RegisterFlagCompletionFunc("filter", complete.Keys("before=", "dangling=", "label=", "reference=", "since=", "until="))
	return cmd
}

func (o *listOptions) run(cmd *cobra.Command, e *env.Env, args []string) error {
	api, err := e.Client()
	if err != nil {
		return err
	}
	filters := o.filter.Values
	if len(args) == 1 {
		if filters == nil {
			filters = client.Filters{}
		}
		filters.Add("reference", args[0])
	}
	if o.format == "" && !o.quiet {
		o.format = e.Config().ImagesFormat
	}
	list, err := api.Images.List(cmd.Context(), o.all, filters)
	if err != nil {
		return err
	}
	rows := o.rows(list)
	if o.quiet && o.format == "" {
		for _, r := range rows {
			fmt.Fprintln(e.Out, r.ID())
		}
		return nil
	}
	columns := []string{"Repository", "Tag", "ID", "CreatedSince", "Size"}
	if o.digests {
		columns = []string{"Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"}
	}
	return format.List[*row]{Fields: fields(), Table: columns, Format: o.format}.Write(e.Out, rows)
}

func fields() format.Fields[*row] {
	return format.Fields[*row]{
		{Name: "Containers", Header: "CONTAINERS", Value: (*row).Containers},
		{Name: "CreatedAt", Header: "CREATED AT", Value: (*row).CreatedAt},
		{Name: "CreatedSince", Header: "CREATED", Value: (*row).CreatedSince},
		{Name: "Digest", Header: "DIGEST", Value: (*row).Digest},
		{Name: "ID", Header: "IMAGE ID", Value: (*row).ID},
		{Name: "Repository", Header: "REPOSITORY", Value: (*row).Repository},
		{Name: "SharedSize", Header: "SHARED SIZE", Value: (*row).SharedSize},
		{Name: "Size", Header: "SIZE", Value: (*row).Size},
		{Name: "Tag", Header: "TAG", Value: (*row).Tag},
		{Name: "UniqueSize", Header: "UNIQUE SIZE", Value: (*row).UniqueSize},
		{Name: "VirtualSize", Header: "SIZE", Value: (*row).VirtualSize},
	}
}

// rows are one per name of an image, or one for an image without names; with
// digests wanted one per name and digest.
func (o *listOptions) rows(images []image.Summary) []*row {
	var rows []*row
	now := time.Now()
	for i := range images {
		summary := &images[i]
		add := func(repository, tag, digest string) {
			rows = append(rows, &row{image: summary, noTrunc: o.noTrunc, now: now, repository: repository, tag: tag, digest: digest})
		}
		tags, digests, order := byRepository(summary)
		if len(order) == 0 {
			add("<none>", "<none>", "<none>")
			continue
		}
		perDigest := o.digests || strings.Contains(o.format, ".Digest")
		for _, repository := range order {
			tags, digests := tags[repository], digests[repository]
			switch {
			case len(tags) == 0: // known by digest alone
				tags = []string{"<none>"}
				if !o.digests {
					digests = []string{""}
				}
			case !perDigest || len(digests) == 0:
				digests = []string{"<none>"}
			}
			for _, t := range tags {
				for _, d := range digests {
					add(repository, t, d)
				}
			}
		}
	}
	return rows
}

// byRepository sorts an image's names, in their familiar form, by repository.
func byRepository(s *image.Summary) (tags, digests map[string][]string, order []string) {
	tags, digests = map[string][]string{}, map[string][]string{}
	note := func(repository string) {
		if len(tags[repository])+len(digests[repository]) == 0 {
			order = append(order, repository)
		}
	}
	for _, text := range s.RepoTags {
		if ref, err := name.Parse(text); err == nil && ref.Tag != "" {
			repository := ref.Familiar()
			note(repository)
			tags[repository] = append(tags[repository], ref.Tag)
		}
	}
	for _, text := range s.RepoDigests {
		if ref, err := name.Parse(text); err == nil && ref.Digest != "" {
			repository := ref.Familiar()
			note(repository)
			digests[repository] = append(digests[repository], ref.Digest)
		}
	}
	return tags, digests, order
}

// row is a name of an image as images shows it; its methods are the fields of
// templates.
type row struct {
	image                   *image.Summary
	repository, tag, digest string
	noTrunc                 bool
	now                     time.Time
}

// ID is the image's ID, twelve digits of it unless told otherwise.
func (r *row) ID() string { return shortID(r.image.ID, r.noTrunc) }

// Repository is the name without its tag.
func (r *row) Repository() string { return r.repository }

// Tag is the tag, "<none>" for an image without.
func (r *row) Tag() string { return r.tag }

// Digest is the digest that the name was pulled or pushed by.
func (r *row) Digest() string { return r.digest }

// CreatedSince is the time since the image was built in words.
func (r *row) CreatedSince() string {
	if r.image.Created <= 0 {
		return "N/A"
	}
	return units.HumanDuration(r.now.UTC().Sub(time.Unix(r.image.Created, 0))) + " ago"
}

// CreatedAt is the time when the image was built.
func (r *row) CreatedAt() string { return time.Unix(r.image.Created, 0).String() }

// Size is what the image takes on disk.
func (r *row) Size() string { return units.HumanSizeWithPrecision(float64(r.image.Size), 3) }

// Containers is how many containers use the image, "N/A" if not counted.
func (r *row) Containers() string {
	if r.image.Containers < 0 {
		return "N/A"
	}
	return strconv.FormatInt(r.image.Containers, 10)
}

// SharedSize is what the image shares with others, "N/A" if not computed.
func (r *row) SharedSize() string {
	if r.image.SharedSize < 0 {
		return "N/A"
	}
	return units.HumanSize(float64(r.image.SharedSize))
}

// UniqueSize is what the image does not share.
func (r *row) UniqueSize() string {
	if r.image.Size < 0 || r.image.SharedSize < 0 {
		return "N/A"
	}
	return units.HumanSize(float64(r.image.Size - r.image.SharedSize))
}

// VirtualSize is Size as older versions counted and wrote it.
func (r *row) VirtualSize() string { return units.HumanSize(float64(r.image.Size)) }
