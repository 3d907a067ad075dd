/* A server that streams tokens on an exact schedule and records what it really did, to compare a client's
 * report with the truth. One thread, epoll, no dependencies, loopback only.
 *
 *     cc -O2 -o truth_server truth_server.c -lm && ./truth_server PORT TTFT_US GAP_US TOKENS_PER_EVENT
 *
 * POST /v1/completions, /v1/chat/completions   `max_tokens` tokens in events, then usage and [DONE]
 * GET  /v1/models, /health                     as OpenAI-compatible servers answer
 * GET  /metrics                                as vLLM writes them, with as many histograms
 * GET  /truth                                  since the last reset, as JSON
 * GET  /truth/arrivals                         when each request was read, in CLOCK_MONOTONIC ns, one per line
 * GET  /truth/reset?skip=N                     reset, and do not record the next N requests: a warm-up
 *
 * The first event of a request is due TTFT_US after the request was read, the others GAP_US after each
 * other, on an absolute schedule: one late event does not delay the rest. GAP_US 0: as fast as the client
 * reads, with the streams in turn. Times are taken before the system call that writes the token.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define LARGEST_REQUEST (8u << 20)
#define BURST 32        /* tokens that a stream may send in its turn, unpaced */
#define ROUND 4096      /* tokens sent before requests are looked at again, when the schedule is missed */
#define BINS_A_DOUBLING 512

static int64_t ttft_ns, gap_ns, tokens_per_event;
static char tokens_text[64]; /* the text of an event */
static int poller;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static void *or_die(void *memory) {
    if (!memory) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

/* ---- what is recorded ------------------------------------------------------------------------------ */

/* A histogram in steps of 2^(1/512), 0.14%, from 1 us on; sum and count are exact. */
typedef struct {
    int64_t count, sum_ns, largest_ns;
    uint32_t bins[40 * BINS_A_DOUBLING];
} Times;

static Times first, mean_gap, single_gap, lateness;
static int64_t requests, completed, aborted, tokens, connections, in_flight, most_in_flight, prompts;
static int64_t skipped;
static int64_t from_ns, to_ns, *arrivals;
static size_t arrivals_room;
static double cpu_before_s;

static void note(Times *times, int64_t ns) {
    int bin = ns <= 1000 ? 0 : (int)(log2(ns / 1000.0) * BINS_A_DOUBLING);
    int last = (int)(sizeof times->bins / sizeof *times->bins) - 1;
    times->bins[bin < last ? bin : last]++;
    times->count++;
    times->sum_ns += ns;
    if (ns > times->largest_ns) times->largest_ns = ns;
}

static double percentile_ms(const Times *times, double share) {
    int64_t wanted = (int64_t)(times->count * share), seen = 0;
    for (size_t bin = 0; bin < sizeof times->bins / sizeof *times->bins; bin++) {
        seen += times->bins[bin];
        if (seen > wanted) return exp2((bin + 0.5) / BINS_A_DOUBLING) / 1e3;
    }
    return times->largest_ns / 1e6;
}

static double cpu_s(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return use.ru_utime.tv_sec + use.ru_stime.tv_sec + (use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void forget(int64_t skip) {
    skipped = skip;
    memset(&first, 0, sizeof first);
    memset(&mean_gap, 0, sizeof mean_gap);
    memset(&single_gap, 0, sizeof single_gap);
    memset(&lateness, 0, sizeof lateness);
    requests = completed = aborted = tokens = connections = prompts = from_ns = to_ns = 0;
    most_in_flight = in_flight;
    cpu_before_s = cpu_s();
}

/* ---- connections ----------------------------------------------------------------------------------- */

typedef struct Stream {
    int socket, blocked, chat, queued, counted;
    unsigned generation;
    char *in, *out;
    size_t in_length, in_room, out_length, out_done, out_room;
    int64_t wanted, sent, prompt_tokens, read_ns, due_ns, first_ns, last_ns;
    struct Stream *next;
} Stream;

static Stream *spare, *turn_head, *turn_tail;

/* Streams by the time their next token is due: a binary heap. An entry of a closed stream has another
 * generation. */
typedef struct {
    int64_t due_ns;
    Stream *stream;
    unsigned generation;
} Due;

static Due *heap;
static size_t heap_length, heap_room;

static void push(Stream *stream, int64_t due_ns) {
    if (heap_length == heap_room) {
        heap_room = heap_room ? heap_room * 2 : 1024;
        heap = or_die(realloc(heap, heap_room * sizeof *heap));
    }
    size_t at = heap_length++;
    for (; at && heap[(at - 1) / 2].due_ns > due_ns; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = (Due){due_ns, stream, stream->generation};
}

static Due pop(void) {
    Due top = heap[0], moved = heap[--heap_length];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < heap_length; at = child) {
        if (child + 1 < heap_length && heap[child + 1].due_ns < heap[child].due_ns) child++;
        if (heap[child].due_ns >= moved.due_ns) break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
    return top;
}

static void listen_for(Stream *stream, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = stream};
    epoll_ctl(poller, EPOLL_CTL_MOD, stream->socket, &event);
}

static void end(Stream *stream) {
    if (stream->socket < 0) return;
    if (stream->wanted && stream->counted) {
        aborted++;
        in_flight--;
    }
    close(stream->socket);
    stream->socket = -1;
    stream->generation++;
    stream->wanted = 0;
    stream->in_length = stream->out_length = stream->out_done = 0;
    stream->blocked = 0;
    if (!stream->queued) { /* else its turn returns it */
        stream->next = spare;
        spare = stream;
    }
}

static void flush_out(Stream *stream) {
    while (stream->out_done < stream->out_length) {
        ssize_t wrote = send(stream->socket, stream->out + stream->out_done,
                             stream->out_length - stream->out_done, MSG_NOSIGNAL);
        if (wrote < 0 && errno == EAGAIN) {
            if (!stream->blocked) listen_for(stream, EPOLLIN | EPOLLOUT);
            stream->blocked = 1;
            return;
        }
        if (wrote < 0) {
            end(stream);
            return;
        }
        stream->out_done += (size_t)wrote;
    }
    stream->out_length = stream->out_done = 0;
    if (stream->blocked) listen_for(stream, EPOLLIN);
    stream->blocked = 0;
}

static void add(Stream *stream, const char *text, size_t length) {
    if (stream->out_length + length > stream->out_room) {
        stream->out_room = 2 * (stream->out_length + length);
        stream->out = or_die(realloc(stream->out, stream->out_room));
    }
    memcpy(stream->out + stream->out_length, text, length);
    stream->out_length += length;
}

__attribute__((format(printf, 2, 3))) static void say(Stream *stream, const char *format, ...) {
    char text[1024];
    va_list values;
    va_start(values, format);
    size_t length = (size_t)vsnprintf(text, sizeof text, format, values);
    va_end(values);
    add(stream, text, length);
}

/* One event of a stream, as a chunk of the answer's body. Fields, their order and their nulls are those of
 * vLLM's completion/serving.py and chat_completion/serving.py, autumn 2026, without token ids. */
static void say_event(Stream *stream, const char *choices, const char *more) {
    char event[768];
    int length = snprintf(event, sizeof event,
                          "data: {\"id\":\"cmpl-%032x\",\"object\":\"%s\",\"created\":1760000000,"
                          "\"model\":\"truth\",\"choices\":[%s]%s}\n\n",
                          stream->generation, stream->chat ? "chat.completion.chunk" : "text_completion",
                          choices, more);
    say(stream, "%x\r\n%s\r\n", length, event);
}

/* ---- tokens ---------------------------------------------------------------------------------------- */

static void send_token(Stream *stream) {
#define COMPLETION(reason)                                                                               \
    "{\"index\":0,\"text\":\"%s\",\"logprobs\":null,\"finish_reason\":" reason ",\"stop_reason\":null,"      \
    "\"prompt_token_ids\":null,\"token_ids\":null}"
#define CHAT(reason)                                                                                     \
    "{\"index\":0,\"delta\":{\"content\":\"%s\"},\"logprobs\":null,\"finish_reason\":" reason ","                \
    "\"token_ids\":null}"
    static const char *text[] = {COMPLETION("null"), CHAT("null")};
    static const char *finish[] = {COMPLETION("\"length\""), CHAT("\"length\",\"stop_reason\":null")};
    int64_t now = now_ns();
    int first_event = !stream->sent;
    int64_t left = stream->wanted - stream->sent, many = left < tokens_per_event ? left : tokens_per_event;
    int last = (stream->sent += many) == stream->wanted;
    if (first_event) stream->first_ns = now;
    if (stream->counted) {
        if (gap_ns) note(&lateness, now - stream->due_ns);
        if (first_event)
            note(&first, now - stream->read_ns);
        else
            note(&single_gap, now - stream->last_ns);
        to_ns = now;
        tokens += many;
    }
    stream->last_ns = now;
    char choice[320];
    snprintf(choice, sizeof choice, (last ? finish : text)[stream->chat], tokens_text + 4 * (tokens_per_event - many));
    say_event(stream, choice, "");
    if (last) {
        char usage[160];
        snprintf(usage, sizeof usage,
                 ",\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"total_tokens\":%lld}",
                 (long long)stream->prompt_tokens, (long long)stream->sent,
                 (long long)(stream->prompt_tokens + stream->sent));
        say_event(stream, "", usage);
        say(stream, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
        stream->wanted = 0;
        if (stream->counted) {
            if (stream->sent > 1) note(&mean_gap, (now - stream->first_ns) / (stream->sent - 1));
            completed++;
            in_flight--;
        }
    }
    if (!stream->blocked) flush_out(stream);
}

static void take_turn(Stream *stream) {
    if (stream->queued) return;
    stream->queued = 1;
    stream->next = NULL;
    *(turn_head ? &turn_tail->next : &turn_head) = stream;
    turn_tail = stream;
}

/* Send all tokens that are due, or a round of them; return the ns until the next is due; -1 for never. */
static int64_t send_due(void) {
    for (int sent = 0; heap_length; sent++) {
        if (sent == ROUND) return 0;
        int64_t wait_ns = heap[0].due_ns - now_ns();
        if (wait_ns > 0) return wait_ns;
        Due due = pop();
        Stream *stream = due.stream;
        if (stream->generation != due.generation || !stream->wanted) continue;
        stream->due_ns = due.due_ns;
        send_token(stream);
        if (!stream->wanted || stream->socket < 0) continue;
        if (gap_ns)
            push(stream, stream->due_ns + gap_ns);
        else
            take_turn(stream);
    }
    return -1;
}

static void send_unpaced(void) {
    Stream *last = turn_tail;
    for (Stream *stream = turn_head; stream; stream = turn_head) {
        turn_head = stream->next;
        stream->queued = 0;
        if (stream->socket < 0) {
            stream->next = spare;
            spare = stream;
        }
        for (int i = 0; i < BURST && stream->wanted && !stream->blocked; i++) send_token(stream);
        if (stream->socket >= 0 && stream->wanted && !stream->blocked) take_turn(stream);
        if (stream == last) return;
    }
}

/* ---- requests -------------------------------------------------------------------------------------- */

/* The last number behind this key; token ids are counted by their commas. */
static int64_t number_of(const char *text, const char *key, int64_t otherwise) {
    int64_t found = otherwise;
    for (const char *at = text; (at = strstr(at, key));) {
        at += strlen(key);
        const char *value = at + strspn(at, " :\"");
        if (*value >= '0' && *value <= '9') found = strtoll(value, NULL, 10);
    }
    return found;
}

static void answer(Stream *stream, const char *body) {
    say(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
        strlen(body));
    add(stream, body, strlen(body));
    flush_out(stream);
}

static char page[1 << 17];
static size_t page_length;

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...) {
    va_list values;
    va_start(values, format);
    page_length += (size_t)vsnprintf(page + page_length, sizeof page - page_length, format, values);
    va_end(values);
}

#define LABELS "engine=\"0\",model_name=\"truth\""

static void tell_one(const char *name, const char *kind, double value) {
    tell("# HELP vllm:%s Something that vLLM tells.\n# TYPE vllm:%s %s\n", name, name, kind);
    int counter = kind[0] == 'c';
    tell("vllm:%s%s{" LABELS "} %.1f\n", name, counter ? "_total" : "", value);
    if (counter) tell("vllm:%s_created{" LABELS "} 1.76e+09\n", name);
}

/* The metrics of vLLM 0.33.0 for one engine: its gauges and counters, and histograms with the same values. */
static void tell_metrics(Stream *stream) {
    static const char *histograms[] = {
        "iteration_tokens_total", "time_to_first_token_seconds", "inter_token_latency_seconds",
        "request_time_per_output_token_seconds", "e2e_request_latency_seconds", "request_queue_time_seconds",
        "request_inference_time_seconds", "request_prefill_time_seconds", "request_decode_time_seconds",
        "request_prompt_tokens", "request_generation_tokens", "request_max_num_generation_tokens",
        "request_params_n", "request_params_max_tokens", "request_prefill_kv_computed_tokens"};
    page_length = 0;
    tell_one("num_requests_running", "gauge", (double)in_flight);
    tell_one("num_requests_waiting", "gauge", 0);
    tell_one("kv_cache_usage_perc", "gauge", 0.1);
    tell_one("prefix_cache_queries", "counter", (double)prompts);
    tell_one("prefix_cache_hits", "counter", 0);
    tell_one("num_preemptions", "counter", 0);
    tell_one("prompt_tokens", "counter", (double)prompts);
    tell_one("generation_tokens", "counter", (double)tokens);
    for (size_t i = 0; i < sizeof histograms / sizeof *histograms; i++) {
        tell("# HELP vllm:%s Something that vLLM tells.\n# TYPE vllm:%s histogram\n", histograms[i], histograms[i]);
        for (int bucket = 0; bucket < 20; bucket++)
            tell("vllm:%s_bucket{" LABELS ",le=\"%.1f\"} %.1f\n", histograms[i], 1.5 * bucket, (double)completed);
        tell("vllm:%s_bucket{" LABELS ",le=\"+Inf\"} %.1f\n", histograms[i], (double)completed);
        tell("vllm:%s_count{" LABELS "} %.1f\n", histograms[i], (double)completed);
        tell("vllm:%s_sum{" LABELS "} %.1f\n", histograms[i], (double)completed);
    }
    say(stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        "Content-Length: %zu\r\n\r\n",
        page_length);
    add(stream, page, page_length);
    flush_out(stream);
}

static void tell_truth(Stream *stream) {
    char body[900];
    const Times *all[] = {&first, &mean_gap, &single_gap, &lateness};
    const char *names[] = {"ttft_ms", "tpot_ms", "gap_ms", "late_ms"};
    int length = snprintf(
        body, sizeof body,
        "{\"requests\":%lld,\"completed\":%lld,\"aborted\":%lld,\"tokens\":%lld,\"connections\":%lld,"
        "\"most_in_flight\":%lld,\"seconds\":%.6f,\"cpu_s\":%.3f",
        (long long)requests, (long long)completed, (long long)aborted, (long long)tokens,
        (long long)connections, (long long)most_in_flight, (to_ns - from_ns) / 1e9, cpu_s() - cpu_before_s);
    for (int i = 0; i < 4; i++)
        length += snprintf(body + length, sizeof body - (size_t)length,
                           ",\"%s\":{\"mean\":%.4f,\"p50\":%.4f,\"p99\":%.4f,\"max\":%.4f}", names[i],
                           all[i]->count ? all[i]->sum_ns / 1e6 / all[i]->count : 0.0,
                           percentile_ms(all[i], 0.5), percentile_ms(all[i], 0.99), all[i]->largest_ns / 1e6);
    snprintf(body + length, sizeof body - (size_t)length, "}");
    answer(stream, body);
}

static void tell_arrivals(Stream *stream) {
    say(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %lld\r\n\r\n",
        (long long)requests * 21);
    for (int64_t i = 0; i < requests; i++) say(stream, "%020lld\n", (long long)arrivals[i]);
    flush_out(stream);
}

static void begin(Stream *stream, const char *body, int chat) {
    if ((size_t)requests == arrivals_room) {
        arrivals_room = arrivals_room ? arrivals_room * 2 : 65536;
        arrivals = or_die(realloc(arrivals, arrivals_room * sizeof *arrivals));
    }
    stream->read_ns = now_ns();
    stream->counted = !skipped;
    if (skipped) skipped--;
    stream->chat = chat;
    stream->wanted = number_of(body, "\"max_tokens\"", number_of(body, "\"max_completion_tokens\"", 16));
    stream->sent = 0;
    stream->prompt_tokens = 1;
    const char *ids = strstr(body, "\"prompt\":[");
    for (ids = ids ? ids : ""; *ids && *ids != ']'; ids++) stream->prompt_tokens += *ids == ',';
    if (stream->counted) {
        if (!requests) from_ns = stream->read_ns;
        arrivals[requests++] = stream->read_ns;
        prompts += stream->prompt_tokens;
        if (++in_flight > most_in_flight) most_in_flight = in_flight;
    }
    say(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                "Transfer-Encoding: chunked\r\n\r\n");
    push(stream, stream->read_ns + ttft_ns);
}

/* One whole request, NUL-terminated. */
static void take_request(Stream *stream, const char *head, const char *body) {
    if (!strncmp(head, "POST ", 5))
        begin(stream, body, strncmp(head + 5, "/v1/chat", 8) == 0);
    else if (!strncmp(head, "GET /truth/reset", 16)) {
        forget(number_of(head, "skip=", 0));
        answer(stream, "{}");
    } else if (!strncmp(head, "GET /truth/arrivals", 19))
        tell_arrivals(stream);
    else if (!strncmp(head, "GET /truth", 10))
        tell_truth(stream);
    else if (!strncmp(head, "GET /metrics", 12))
        tell_metrics(stream);
    else if (!strncmp(head, "GET /v1/models", 14))
        answer(stream, "{\"object\":\"list\",\"data\":[{\"id\":\"truth\",\"object\":\"model\",\"created\":1,"
                       "\"owned_by\":\"truth\",\"max_model_len\":131072}]}");
    else if (!strncmp(head, "GET /health", 11))
        answer(stream, "{}");
    else {
        say(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        flush_out(stream);
    }
}

static void read_in(Stream *stream) {
    for (;;) {
        if (stream->in_room - stream->in_length < 4096) {
            stream->in_room = stream->in_room ? stream->in_room * 2 : 16384;
            stream->in = or_die(realloc(stream->in, stream->in_room));
        }
        ssize_t got = recv(stream->socket, stream->in + stream->in_length,
                           stream->in_room - stream->in_length - 1, 0);
        if (got < 0 && errno == EAGAIN) break;
        if (got <= 0 || stream->in_length > LARGEST_REQUEST) {
            end(stream);
            return;
        }
        stream->in_length += (size_t)got;
        if (stream->in_length < stream->in_room - 1) break; /* that was all */
    }
    stream->in[stream->in_length] = 0;
    char *gap = strstr(stream->in, "\r\n\r\n");
    if (!gap) return;
    char *length_at = strcasestr(stream->in, "\r\ncontent-length:");
    size_t head = (size_t)(gap + 4 - stream->in);
    size_t whole = head + (length_at && length_at < gap ? strtoul(length_at + 17, NULL, 10) : 0);
    if (stream->in_length < whole) return;
    stream->in_length = 0; /* clients send no second request before the answer to the first */
    take_request(stream, stream->in, stream->in + head);
}

static void accept_all(int listener) {
    for (int socket; (socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        int yes = 1;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        Stream *stream = spare;
        if (stream)
            spare = stream->next;
        else
            stream = or_die(calloc(1, sizeof *stream));
        stream->socket = socket;
        connections++;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = stream};
        epoll_ctl(poller, EPOLL_CTL_ADD, socket, &event);
    }
}

int main(int count, char **arguments) {
    if (count != 5 || (tokens_per_event = atoll(arguments[4])) < 1 || tokens_per_event > 15) {
        fputs("usage: truth_server PORT TTFT_US GAP_US TOKENS_PER_EVENT (1 to 15)\n", stderr);
        return 2;
    }
    for (int i = 0; i < tokens_per_event; i++) strcat(tokens_text, " tok");
    ttft_ns = atoll(arguments[2]) * 1000;
    gap_ns = atoll(arguments[3]) * 1000;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(arguments[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16384)) {
        perror("truth_server");
        return 1;
    }
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    forget(0);
    for (;;) {
        struct epoll_event events[256];
        int64_t wait_ns = send_due();
        if (turn_head) send_unpaced();
        if (turn_head) wait_ns = 0;
        struct timespec wait = {wait_ns / 1000000000, wait_ns % 1000000000};
        int ready = epoll_pwait2(poller, events, 256, wait_ns < 0 ? NULL : &wait, NULL);
        for (int i = 0; i < ready; i++) {
            Stream *stream = events[i].data.ptr;
            if (!stream) {
                accept_all(listener);
                continue;
            }
            if (events[i].events & EPOLLOUT) {
                flush_out(stream);
                if (!gap_ns && stream->wanted && stream->sent && !stream->blocked) take_turn(stream);
            }
            if (stream->socket >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_in(stream);
            if (i % 16 == 15) send_due(); /* a wave of requests must not delay tokens that are due */
        }
    }
}
