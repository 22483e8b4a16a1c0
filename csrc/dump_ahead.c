/* SPDX-License-Identifier: MIT */
#include "dump_ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* So often, in nanoseconds, a thread that waits for the kernel looks whether it is still wanted, and one that waits for
 * the thread whether there are signals. */
enum { LOOK_AFTER = 50 * 1000 * 1000 };

/* So long one waits for the other without sleeping: it is about to be ready, and in a virtual machine the kernel likes
 * to wake a sleeper on the processor of who wakes it, where the two take turns for some milliseconds. */
enum { STAY_AWAKE = 1000 * 1000 };

struct dump_ahead {
	struct rtnl_handle handle; /* with a descriptor of its own: nobody closes it while the thread reads */
	struct rtnl_dump *dump;
	int64_t timeout;
	/* Semaphores, for nothing in them can be left locked: not by a fork, not by what a signal handler does. */
	sem_t given, made;
	atomic_int stopped;
	pid_t process;
	unsigned next_given, next_made, next_taken;
	void *arguments[DUMP_AHEAD_MOST];
	int results[DUMP_AHEAD_MOST];
};

int dump_ahead_new(struct dump_ahead **place, const struct rtnl_handle *handle, struct rtnl_dump *dump,
		   int64_t timeout)
{
	struct dump_ahead *ahead = calloc(1, sizeof(*ahead));
	int err;

	if (!ahead)
		return -ENOMEM;
	ahead->handle = *handle;
	ahead->handle.wake_fd = -1;
	ahead->handle.receive = NULL;
	ahead->handle.fd = fcntl(handle->fd, F_DUPFD_CLOEXEC, 0);
	if (ahead->handle.fd < 0) {
		err = -errno;
		free(ahead);
		return err;
	}
	ahead->dump = dump;
	ahead->timeout = timeout;
	ahead->process = getpid();
	sem_init(&ahead->given, 0, 0);
	sem_init(&ahead->made, 0, 0);
	*place = ahead;
	return 0;
}

static void close_own(struct dump_ahead *ahead)
{
	if (ahead->handle.fd >= 0)
		close(ahead->handle.fd);
	ahead->handle.fd = -1;
}

void dump_ahead_free(struct dump_ahead **place)
{
	struct dump_ahead *ahead = *place;

	*place = NULL;
	if (!ahead)
		return;
	close_own(ahead);
	sem_destroy(&ahead->given);
	sem_destroy(&ahead->made);
	free(ahead);
}

void dump_ahead_give(struct dump_ahead *ahead, void *argument)
{
	ahead->arguments[ahead->next_given++ % DUMP_AHEAD_MOST] = argument;
	sem_post(&ahead->given);
}

/* Whether the semaphore could be taken without sleeping. */
static int taken_soon(sem_t *semaphore)
{
	int64_t until;

	if (!sem_trywait(semaphore))
		return 1;
	until = rtnl_deadline_after(STAY_AWAKE);
	do {
		sched_yield();
		if (!sem_trywait(semaphore))
			return 1;
	} while (!rtnl_is_past(until));
	return 0;
}

int dump_ahead_take(struct dump_ahead *ahead)
{
	struct timespec until;

	if (taken_soon(&ahead->made))
		return ahead->results[ahead->next_taken++ % DUMP_AHEAD_MOST];
	/* Not for as long as it takes: a signal may have come just before, or interrupt nothing. */
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOOK_AFTER;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	if (sem_timedwait(&ahead->made, &until) < 0)
		return errno == ETIMEDOUT ? -EINTR : -errno;
	return ahead->results[ahead->next_taken++ % DUMP_AHEAD_MOST];
}

static int next_block(struct dump_ahead *ahead)
{
	int64_t deadline = ahead->timeout < 0 ? -1 : rtnl_deadline_after(ahead->timeout), slice;
	int result;

	do {
		slice = rtnl_deadline_after(LOOK_AFTER);
		result = rtnl_dump_next(&ahead->handle, ahead->dump, deadline >= 0 && deadline < slice ? deadline : slice);
	} while ((result == -EINTR || (result == -ETIMEDOUT && !rtnl_is_past(deadline))) && !ahead->dump->done &&
		 !atomic_load(&ahead->stopped));
	return result;
}

void dump_ahead_run(struct dump_ahead *ahead)
{
	unsigned place;
	sigset_t all;
	int result;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	do {
		if (!taken_soon(&ahead->given))
			while (sem_wait(&ahead->given) < 0)
				;
		if (atomic_load(&ahead->stopped))
			return;
		place = ahead->next_made++ % DUMP_AHEAD_MOST;
		if (ahead->dump->decode)
			ahead->dump->argument = ahead->arguments[place];
		else
			ahead->dump->data = ahead->arguments[place];
		result = next_block(ahead);
		ahead->results[place] = result == 1 && !ahead->dump->decode ? (int)ahead->dump->length : result;
		sem_post(&ahead->made);
	} while (result == 1);
}

void dump_ahead_stop(struct dump_ahead **place)
{
	struct dump_ahead *ahead = *place;

	if (ahead->process != getpid()) {
		close_own(ahead); /* a fork's child has no thread that would free it */
		return;
	}
	atomic_store(&ahead->stopped, 1);
	sem_post(&ahead->given);
}
