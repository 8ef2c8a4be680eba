package rest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of one router, in a registry of their own.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(streams func() int, conns func() (open int, displaced uint64)) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "folkmoot_http_requests_total",
			Help: "Requests answered, by method, route template and class of the status.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "folkmoot_http_request_seconds",
			Help:    "Time from the routed request to its answer; streams count with their whole life.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"method", "route"}),
	}
	m.registry.MustRegister(m.requests, m.seconds,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "folkmoot_http_streams", Help: "Streams, blocking reads and long polls now."},
			func() float64 { return float64(streams()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "folkmoot_http_connections", Help: "Connections now."},
			func() float64 { open, _ := conns(); return float64(open) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "folkmoot_http_connections_displaced_total", Help: "Connections closed since the port was full."},
			func() float64 { _, displaced := conns(); return float64(displaced) }),
	)
	return m
}

// routeMetrics are the metrics of one route, looked up once.
type routeMetrics struct {
	requests [6]prometheus.Counter // by class of the status
	seconds  prometheus.Observer
}

// classes of statuses; [0] is none of HTTP's.
var classes = [6]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"}

// route returns the metrics of a route; path has the prefix.
func (m *metrics) route(method, path string) *routeMetrics {
	r := &routeMetrics{seconds: m.seconds.WithLabelValues(method, path)}
	for i, class := range classes {
		r.requests[i] = m.requests.WithLabelValues(method, path, class)
	}
	return r
}

func (r *routeMetrics) observe(status int, took time.Duration) {
	r.requests[classOf(status)].Inc()
	r.seconds.Observe(took.Seconds())
}

func classOf(status int) int {
	if class := status / 100; class >= 1 && class <= 5 {
		return class
	}
	return 0
}

// unrouted counts a request that reached no route. Its path is not a label,
// and its method only if it is a known one, since callers choose both (promhttp
// CVE-2022-21698).
func (m *metrics) unrouted(method string, status int) {
	m.requests.WithLabelValues(methodLabel(method), "none", classes[classOf(status)]).Inc()
}

// methodLabel is a method if it is a known one, else "other".
func methodLabel(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return method
	}
	return "other"
}
