// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Package plot draws curves as SVG.
package plot

import (
	"fmt"
	"image/color"
	"os"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	_ "gonum.org/v1/plot/vg/vgsvg" // registers SVG
)

// Point is a point of a curve.
type Point struct{ X, Y float64 }

// Curve is a line through points.
type Curve struct {
	Name   string
	Points []Point
}

// Chart is a set of curves over a logarithmic x axis.
type Chart struct {
	Title, X, Y string
	Curves      []Curve
}

// Write draws the chart to a file.
func (c *Chart) Write(file string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.Title, c.X, c.Y
	p.BackgroundColor = color.White
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades{}
	p.Y.Min = 0
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	for i, curve := range c.Curves {
		points := make(plotter.XYs, len(curve.Points))
		for j, at := range curve.Points {
			points[j].X, points[j].Y = at.X, at.Y
			p.Y.Max = max(p.Y.Max, at.Y*1.2)
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return fmt.Errorf("draw %s: %w", curve.Name, err)
		}
		line.Color, dots.Color = plotutil.Color(i), plotutil.Color(i)
		dots.Shape = plotutil.Shape(i)
		p.Add(line, dots)
		p.Legend.Add(curve.Name, line, dots)
	}
	canvas, err := p.WriterTo(6*vg.Inch, 3.5*vg.Inch, "svg")
	if err != nil {
		return fmt.Errorf("draw %s: %w", c.Title, err)
	}
	out, err := os.Create(file) //nolint:gosec // the caller names the file
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(out); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return out.Close()
}

// decades puts ticks at the powers of ten.
type decades struct{}

// Ticks returns the ticks between low and high.
func (decades) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for at := 1.0; at <= high; at *= 10 {
		if at >= low {
			ticks = append(ticks, plot.Tick{Value: at, Label: strconv.FormatFloat(at, 'f', 0, 64)})
		}
	}
	return ticks
}
